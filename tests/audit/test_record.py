from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.audit.record import BEGINNING, Event, Told, events_in, line
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import SessionState, SessionType
from support.audit_files import noon
from support.sample_sessions import NOON, finished, running, session_id

# Whatever a Python string can hold, lone surrogates too.
TEXTS = st.text(st.characters(exclude_categories=()))


def test_a_line_has_all_fields_by_the_names_of_the_api_in_the_order_that_is_documented() -> None:
    session = finished(
        1,
        reason="ticket 4711",
        scope_name="Mailboxes",
        e_tag=42,
        statistics=Statistics(restored=3, failed=1, skipped=0),
    )

    assert line(Event.ENDED, "hq", session, noon()) == (
        b'{"time":"2026-03-01T12:00:00.000Z","event":"ended","server":"hq",'
        b'"id":"00000000-0000-0000-0000-000000000001","name":"Exchange restore 1",'
        b'"organization":"contoso.onmicrosoft.com","type":"Vex",'
        b'"creationTime":"2026-03-01T11:59:00.000000Z","endTime":"2026-03-01T11:59:30.000000Z",'
        b'"state":"Stopped","result":"Success","initiatedBy":"CONTOSO\\\\operator",'
        b'"details":"1 items processed","scopeName":"Mailboxes",'
        b'"clientHost":"srv01 (via: 10.0.0.1)","reason":"ticket 4711","eTag":42,'
        b'"durationSeconds":30.0,"statistics":{"restored":3,"failed":1,"skipped":0}}\n'
    )


def test_what_is_empty_or_not_known_is_left_out_and_0_is_neither() -> None:
    session = running(1, name="", initiated_by="", client_host="", organization="", e_tag=0)

    fields = json.loads(line(Event.STARTED, "hq", session, noon()))

    assert [*fields] == ["time", "event", "server", "id", "type", "creationTime", "state", "eTag"]
    assert fields["eTag"] == 0


def test_counts_of_the_statistics_that_the_api_does_not_give_are_left_out() -> None:
    some = running(1, statistics=Statistics(failed=0))
    none = running(1, statistics=Statistics())

    assert json.loads(line(Event.STARTED, "hq", some, noon()))["statistics"] == {"failed": 0}
    assert "statistics" not in json.loads(line(Event.STARTED, "hq", none, noon()))


def test_only_an_end_has_a_duration_and_none_that_contradicts_itself() -> None:
    backwards = finished(1, end_time=NOON - timedelta(days=1))

    assert "durationSeconds" not in json.loads(line(Event.STARTED, "hq", finished(1), noon()))
    assert "durationSeconds" not in json.loads(line(Event.ENDED, "hq", backwards, noon()))


def test_unknown_values_of_enums_are_told_as_unknown() -> None:
    session = running(1, type=SessionType.UNKNOWN, state=SessionState.UNKNOWN)

    fields = json.loads(line(Event.STARTED, "hq", session, noon()))

    assert (fields["type"], fields["state"]) == ("Unknown", "Unknown")


@given(server=TEXTS.filter(bool), text=TEXTS)
def test_no_text_breaks_a_line_or_keeps_it_from_being_read(server: str, text: str) -> None:
    session = finished(1, name=text, details=text, reason=text, organization=text)

    written = line(Event.ENDED, server, session, noon())

    assert written.isascii()
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert written.startswith(BEGINNING)
    json.loads(written).get("name", "").encode()  # no lone surrogate is left
    (told,) = events_in([written])
    assert told is not None
    assert (Event.ENDED, session_id(1)) == (told.event, told.session_id)
    assert told.server == json.loads(written)["server"]


def test_a_surrogate_becomes_the_replacement_character_and_a_control_character_is_escaped() -> None:
    session = running(1, name="a\ud800b", reason="x\0\r\ny\u2028")

    written = line(Event.STARTED, "hq", session, noon())

    assert rb'"name":"a\ufffdb"' in written
    assert rb'"reason":"x\u0000\r\ny\u2028"' in written


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\n",
        b"nothing\n",
        b"{}\n",
        line(Event.STARTED, "hq", running(1), noon())[:-1],
        line(Event.STARTED, "hq", running(1), noon())[:-2] + b"\n",
        line(Event.STARTED, "hq", running(1), noon()).replace(b"contoso", b"\0\0\0"),
        line(Event.STARTED, "hq", running(1), noon()).replace(b"started", b"stopped"),
        line(Event.STARTED, "hq", running(1), noon()).replace(b"-0000-", b"-"),
    ],
)
def test_what_is_no_whole_line_tells_nothing(damaged: bytes) -> None:
    whole = line(Event.STARTED, "hq", running(2), noon())

    assert [None, Told(Event.STARTED, "hq", session_id(2))] == [*events_in([damaged, whole])]
