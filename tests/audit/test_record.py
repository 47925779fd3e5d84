from __future__ import annotations

import json
import tracemalloc
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.audit.record import (
    LINE_PREFIX,
    Event,
    EventIndex,
    LoggedEvent,
    format_line,
    parse_lines,
)
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import SessionState, SessionType
from support.audit_files import noon
from support.sample_sessions import NOON, finished, running, session_id

# All that a Python string can hold, lone surrogates included.
TEXTS = st.text(st.characters(exclude_categories=()))

STARTED = LoggedEvent(Event.STARTED, "hq", session_id(1))
ENDED = LoggedEvent(Event.ENDED, "hq", session_id(1))


def test_a_line_has_all_fields_with_the_names_of_the_api_in_the_documented_order() -> None:
    session = finished(
        1,
        reason="ticket 4711",
        scope_name="Mailboxes",
        e_tag=42,
        statistics=Statistics(restored=3, failed=1, skipped=0),
    )

    assert format_line(Event.ENDED, "hq", session, noon()) == (
        b'{"time":"2026-03-01T12:00:00.000Z","event":"ended","server":"hq",'
        b'"id":"00000000-0000-0000-0000-000000000001","name":"Exchange restore 1",'
        b'"organization":"contoso.onmicrosoft.com","type":"Vex",'
        b'"creationTime":"2026-03-01T11:59:00.000000Z","endTime":"2026-03-01T11:59:30.000000Z",'
        b'"state":"Stopped","result":"Success","initiatedBy":"CONTOSO\\\\operator",'
        b'"details":"1 items processed","scopeName":"Mailboxes",'
        b'"clientHost":"srv01 (via: 10.0.0.1)","reason":"ticket 4711","eTag":42,'
        b'"durationSeconds":30.0,"statistics":{"restored":3,"failed":1,"skipped":0}}\n'
    )


def test_empty_and_unknown_fields_are_left_out_and_0_is_neither() -> None:
    session = running(1, name="", initiated_by="", client_host="", organization="", e_tag=0)

    fields = json.loads(format_line(Event.STARTED, "hq", session, noon()))

    assert [*fields] == ["time", "event", "server", "id", "type", "creationTime", "state", "eTag"]
    assert fields["eTag"] == 0


def test_counts_missing_from_the_statistics_are_left_out() -> None:
    some = running(1, statistics=Statistics(failed=0))
    none = running(1, statistics=Statistics())

    assert json.loads(format_line(Event.STARTED, "hq", some, noon()))["statistics"] == {"failed": 0}
    assert "statistics" not in json.loads(format_line(Event.STARTED, "hq", none, noon()))


def test_only_an_end_has_a_duration_unless_it_would_be_negative() -> None:
    backwards = finished(1, end_time=NOON - timedelta(days=1))

    assert "durationSeconds" not in json.loads(
        format_line(Event.STARTED, "hq", finished(1), noon())
    )
    assert "durationSeconds" not in json.loads(format_line(Event.ENDED, "hq", backwards, noon()))


def test_unknown_enum_values_are_written_as_unknown() -> None:
    session = running(1, type=SessionType.UNKNOWN, state=SessionState.UNKNOWN)

    fields = json.loads(format_line(Event.STARTED, "hq", session, noon()))

    assert (fields["type"], fields["state"]) == ("Unknown", "Unknown")


@given(server=TEXTS.filter(bool), text=TEXTS)
def test_no_text_breaks_a_line_or_prevents_it_from_being_parsed(server: str, text: str) -> None:
    session = finished(1, name=text, details=text, reason=text, organization=text)

    written = format_line(Event.ENDED, server, session, noon())

    assert written.isascii()
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert written.startswith(LINE_PREFIX)
    json.loads(written).get("name", "").encode()  # no lone surrogate is left
    logged = LoggedEvent(Event.ENDED, json.loads(written)["server"], session_id(1))
    assert [*parse_lines([written])] == [logged]


def test_a_surrogate_becomes_the_replacement_character_and_a_control_character_is_escaped() -> None:
    session = running(1, name="a\ud800b", reason="x\0\r\ny\u2028")

    written = format_line(Event.STARTED, "hq", session, noon())

    assert rb'"name":"a\ufffdb"' in written
    assert rb'"reason":"x\u0000\r\ny\u2028"' in written


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\n",
        b"nothing\n",
        b"{}\n",
        format_line(Event.STARTED, "hq", running(1), noon())[:-1],
        format_line(Event.STARTED, "hq", running(1), noon())[:-2] + b"\n",
        format_line(Event.STARTED, "hq", running(1), noon()).replace(b"contoso", b"\0\0\0"),
        format_line(Event.STARTED, "hq", running(1), noon()).replace(b"started", b"stopped"),
        format_line(Event.STARTED, "hq", running(1), noon()).replace(b"-0000-", b"-"),
    ],
)
def test_a_foreign_or_incomplete_line_is_not_an_event(damaged: bytes) -> None:
    whole = format_line(Event.STARTED, "hq", running(2), noon())

    assert [*parse_lines([damaged, whole])] == [
        None,
        LoggedEvent(Event.STARTED, "hq", session_id(2)),
    ]


def test_a_running_session_has_started_and_a_stopped_one_has_started_and_ended() -> None:
    index = EventIndex()

    assert index.unlogged("hq", running(1)) == (Event.STARTED,)
    assert index.unlogged("hq", running(1, state=SessionState.UNKNOWN)) == (Event.STARTED,)
    assert index.unlogged("hq", finished(1)) == (Event.STARTED, Event.ENDED)


def test_a_logged_event_is_not_unlogged() -> None:
    index = EventIndex([STARTED])

    assert index.unlogged("hq", running(1)) == ()
    assert index.unlogged("hq", finished(1)) == (Event.ENDED,)
    index.add(ENDED)
    assert index.unlogged("hq", running(1)) == ()
    assert index.unlogged("hq", finished(1)) == ()


@pytest.mark.parametrize("events", [[ENDED], [ENDED, STARTED], [STARTED, ENDED]])
def test_a_logged_end_implies_a_logged_start_in_whatever_order_they_are_read(
    events: list[LoggedEvent],
) -> None:
    index = EventIndex(events)

    assert index.unlogged("hq", running(1)) == ()
    assert len(index) == 1


def test_the_same_id_on_another_server_is_another_session() -> None:
    assert EventIndex([STARTED]).unlogged("branch", running(1)) == (Event.STARTED,)


def test_a_session_takes_little_memory_in_the_index() -> None:
    events = [LoggedEvent(Event.ENDED, "hq", session_id(number)) for number in range(20_000)]
    tracemalloc.start()
    try:
        index = EventIndex(events)
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(index) == 20_000
    assert size_bytes < 20_000 * 200
