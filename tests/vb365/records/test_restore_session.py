from __future__ import annotations

import json
import math
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.vb365.records.extras import (
    EventOperation,
    EventStatus,
    EventSummary,
    Statistics,
)
from exporter.vb365.records.fields import RejectionReason, UnknownValue
from exporter.vb365.records.restore_session import (
    Rejection,
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
    parse_page,
    parse_session,
)

# Payloads as servers of several versions are known to send them.
PAYLOADS = json.loads((Path(__file__).parents[1] / "payloads.json").read_text(encoding="utf-8"))


def record(**changes: Any) -> dict[str, Any]:
    """A finished session as v6 sends it; a change to `...` omits the property."""
    made = {**PAYLOADS["v6_stopped"], **changes}
    return {key: value for key, value in made.items() if value is not ...}


def parsed(**changes: Any) -> RestoreSession:
    session = parse_session(record(**changes))
    assert isinstance(session, RestoreSession)
    return session


def test_every_property_of_the_resource_is_read() -> None:
    session = parsed(scopeName="Sales", reason="Ticket 17", eTag=42)

    assert session == RestoreSession(
        id="635b22cf-9cdc-4004-9160-9b90f90f1bbf",
        name="Exchange restore (Entire organization - 1/29/2022 10:29:05 AM)",
        organization="abc.onmicrosoft.com",
        type=SessionType.VEX,
        creation_time=datetime(2022, 2, 22, 15, 40, 25, 161239, UTC),
        end_time=datetime(2022, 2, 22, 16, 40, 26, 858697, UTC),
        state=SessionState.STOPPED,
        result=SessionResult.SUCCESS,
        initiated_by="SRV0101\\Administrator",
        details="0 items processed",
        scope_name="Sales",
        client_host="srv0101 (via: 127.0.0.1)",
        reason="Ticket 17",
        e_tag=42,
    )
    assert session.duration_seconds == pytest.approx(3601.697, abs=0.0005)
    assert session.processed_items == 0


@pytest.mark.parametrize("name", [name for name in PAYLOADS if "working" in name])
def test_a_running_session_of_any_version_has_not_ended_and_has_no_result(name: str) -> None:
    session = parse_session(PAYLOADS[name])

    assert isinstance(session, RestoreSession)
    assert session.state is SessionState.WORKING
    assert not session.stopped
    assert session.end_time is None
    assert session.result is None
    assert session.duration_seconds is None


@pytest.mark.parametrize(
    "never",
    [
        ...,
        None,
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T23:59:59.9999999+14:00",
        "0001-01-01T00:00:00Z",
    ],
)
def test_all_forms_of_not_ended_are_not_ended(never: object) -> None:
    assert parsed(endTime=never).end_time is None


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"id": ...}, RejectionReason.MISSING_FIELD, "id"),
        ({"id": None}, RejectionReason.MISSING_FIELD, "id"),
        ({"id": 7}, RejectionReason.WRONG_TYPE, "id"),
        ({"id": "../../token"}, RejectionReason.BAD_ID, "id"),
        ({"id": "635b22cf-9cdc-4004-9160-9b90f90f1bbf\n"}, RejectionReason.BAD_ID, "id"),
        ({"id": "0635b22cf-9cdc-4004-9160-9b90f90f1bbf"}, RejectionReason.BAD_ID, "id"),
        ({"id": "635b22cf9cdc400491609b90f90f1bbf"}, RejectionReason.BAD_ID, "id"),
        ({"id": "635b22cf-9cdc-4004-9160-9b90f90f1bbg"}, RejectionReason.BAD_ID, "id"),
        ({"creationTime": ...}, RejectionReason.MISSING_FIELD, "creationTime"),
        ({"creationTime": None}, RejectionReason.BAD_TIME, "creationTime"),
        ({"creationTime": 1645544425}, RejectionReason.WRONG_TYPE, "creationTime"),
        ({"creationTime": "soon"}, RejectionReason.BAD_TIME, "creationTime"),
        ({"creationTime": "0001-01-01T00:00:00Z"}, RejectionReason.BAD_TIME, "creationTime"),
        ({"endTime": "later"}, RejectionReason.BAD_TIME, "endTime"),
        ({"endTime": False}, RejectionReason.WRONG_TYPE, "endTime"),
        ({"state": 3}, RejectionReason.WRONG_TYPE, "state"),
        ({"type": ["Vex"]}, RejectionReason.WRONG_TYPE, "type"),
        ({"result": {}}, RejectionReason.WRONG_TYPE, "result"),
        ({"organization": 1.5}, RejectionReason.WRONG_TYPE, "organization"),
        *(
            ({text: []}, RejectionReason.WRONG_TYPE, text)
            for text in (
                *("organization", "name", "initiatedBy", "details"),
                *("scopeName", "clientHost", "reason"),
            )
        ),
        ({"eTag": True}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": math.inf}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": 2**63}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": -(2**63) - 1}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": str(2**63)}, RejectionReason.WRONG_TYPE, "eTag"),
    ],
)
def test_a_record_that_is_not_a_session_is_rejected_with_the_reason_and_the_field(
    changes: dict[str, Any], reason: RejectionReason, field: str
) -> None:
    rejection = parse_session(record(**changes))

    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.field) == (reason, field)


def test_a_rejection_has_the_session_id_when_that_can_be_read() -> None:
    assert parse_session(record(state=3)) == Rejection(
        reason=RejectionReason.WRONG_TYPE, field="state", session_id=record()["id"]
    )
    assert parse_session(record(id="x")) == Rejection(reason=RejectionReason.BAD_ID, field="id")


def test_a_record_that_is_not_an_object_is_rejected() -> None:
    assert parse_session([]) == Rejection(reason=RejectionReason.NOT_AN_OBJECT)


def test_a_page_has_sessions_and_rejections_in_their_order() -> None:
    other = "450b6045-1c59-4788-9f32-fa15b8c7c5ba"
    page = parse_page([record(), None, record(id=other), record(state=3)])

    assert [session.id for session in page.sessions] == [record()["id"], other]
    assert [rejection.reason for rejection in page.rejections] == [
        RejectionReason.NOT_AN_OBJECT,
        RejectionReason.WRONG_TYPE,
    ]


@pytest.mark.parametrize("states", [("Working", "Stopped"), ("Stopped", "Working")])
def test_a_session_that_is_both_running_and_finished_on_a_page_is_running(
    states: tuple[str, ...],
) -> None:
    page = parse_page([record(state=state) for state in states])

    assert {session.state for session in page.sessions} == {SessionState.WORKING}


def test_a_session_cannot_be_changed() -> None:
    session = parsed()

    with pytest.raises(AttributeError):
        session.state = SessionState.WORKING  # type: ignore[misc]  # what is tested


def test_a_copy_with_an_extra_leaves_the_session_as_it_is() -> None:
    session = parsed()

    copy = session.with_extra("statistics", Statistics(restored=1))

    assert copy.statistics == Statistics(restored=1)
    assert session.statistics is None
    assert copy.with_extra("statistics", None) == session


@pytest.mark.parametrize(
    ("field", "value", "unknown", "noted"),
    [
        ("state", "Starting", SessionState.UNKNOWN, "Starting"),
        ("state", None, SessionState.UNKNOWN, "null"),
        ("state", "Unknown", SessionState.UNKNOWN, "Unknown"),
        ("state", "", SessionState.UNKNOWN, ""),
        ("type", "Vplanner", SessionType.UNKNOWN, "Vplanner"),
        ("type", ..., SessionType.UNKNOWN, "absent"),
        ("type", "x" * 64, SessionType.UNKNOWN, "x" * 64),
        ("type", "x" * 65, SessionType.UNKNOWN, "x" * 64),
        ("result", "Cancelled", SessionResult.UNKNOWN, "Cancelled"),
        ("result", None, SessionResult.UNKNOWN, "null"),
        ("result", ..., SessionResult.UNKNOWN, "absent"),
    ],
)
def test_an_unknown_enum_value_becomes_unknown_and_is_noted(
    field: str, value: object, unknown: object, noted: str
) -> None:
    session = parsed(**{field: value})

    assert getattr(session, field) is unknown
    assert session.unknown_values == (UnknownValue(field=field, value=noted),)


def test_a_session_in_an_unknown_state_is_running() -> None:
    session = parsed(state="Stopping")

    assert not session.stopped
    assert session.result is None


@pytest.mark.parametrize("written", ["Veod", "veod", "VEOD"])
def test_enum_values_are_read_in_any_case(written: str) -> None:
    session = parsed(type=written)

    assert session.type is SessionType.VEOD
    assert session.unknown_values == ()


def test_ids_are_shown_in_lower_case() -> None:
    session = parsed(id="635B22CF-9CDC-4004-9160-9B90F90F1BBF")

    assert session.id == "635b22cf-9cdc-4004-9160-9b90f90f1bbf"


def test_optional_texts_may_be_null_or_absent() -> None:
    session = parsed(organization=None, name=None, details=..., clientHost=None, reason=None)

    assert (
        session.organization,
        session.name,
        session.details,
        session.client_host,
        session.reason,
    ) == ("", "", "", "", "")


def test_an_end_before_the_start_gives_no_duration() -> None:
    session = parsed(endTime="2022-02-22T15:40:24Z")

    assert session.end_time is not None
    assert session.duration_seconds is None


def test_an_end_at_the_start_is_a_duration_of_zero() -> None:
    assert parsed(endTime=record()["creationTime"]).duration_seconds == 0


def test_a_running_session_has_lasted_since_its_start_and_a_finished_one_until_its_end() -> None:
    finished = parsed(creationTime="2022-02-22T15:40:00Z", endTime="2022-02-22T15:40:30Z")
    running = finished._replace(state=SessionState.WORKING, end_time=None, result=None)
    now = datetime(2022, 2, 22, 15, 41, tzinfo=UTC)

    assert finished.elapsed_seconds(now) == 30.0
    assert running.elapsed_seconds(now) == 60.0


@pytest.mark.parametrize(
    ("details", "items"),
    [
        ("0 items processed", 0),
        ("1 item processed", 1),
        ("12 items processed (11 succeeded)", 12),
        ("12 items", None),
        ("some items processed", None),
        ("", None),
        ("9" * 15 + " items processed", 10**15 - 1),
        ("9" * 16 + " items processed", None),
        ("12 items processedly", None),
        ("done: 12 items processed", None),
        ("١ items processed", None),
    ],
)
def test_processed_items_are_read_only_from_the_one_known_form(
    details: str, items: int | None
) -> None:
    assert parsed(details=details).processed_items == items


def test_numbers_may_come_as_strings() -> None:
    assert parsed(eTag="42").e_tag == 42


@pytest.mark.parametrize(("length", "kept"), [(2047, 2047), (2048, 2048), (2049, 2048)])
def test_a_text_is_cut_to_2048_characters(length: int, kept: int) -> None:
    assert parsed(name="x" * length).name == "x" * kept


def test_equal_texts_are_one_string() -> None:
    texts = [f"{number} items processed" for number in (1, 1)]

    one, other = (parsed(details=text).details for text in texts)

    assert one is other


def test_texts_of_past_sessions_are_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(20_000):
            parsed(details=f"{number} {'x' * 2000}")
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < 8_000_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=8,
)
timestamps = st.sampled_from(
    ["2022-02-22T15:40:25.1612392Z", "9999-12-31T23:59:59.9999999+14:00", "0001-01-01T00:00:00Z"]
)


@given(json_values)
def test_any_json_value_is_a_session_or_a_rejection(value: object) -> None:
    assert isinstance(parse_session(value), RestoreSession | Rejection)


@given(
    st.fixed_dictionaries(
        {"id": st.uuids().map(str) | json_values, "creationTime": timestamps | json_values},
        optional=dict.fromkeys(
            [
                "type",
                "state",
                "result",
                "endTime",
                "name",
                "organization",
                "details",
                "eTag",
                "_links",
                "reason",
            ],
            json_values | timestamps | st.sampled_from(["Vex", "Stopped", "Working", "Failed"]),
        ),
    )
)
def test_any_record_is_a_session_whose_values_can_be_served_or_a_rejection(
    made: dict[str, object],
) -> None:
    session = parse_session(made)

    if isinstance(session, RestoreSession):
        assert session.creation_time.tzinfo is UTC
        assert session.duration_seconds is None or session.duration_seconds >= 0
        assert session.processed_items is None or session.processed_items >= 0
        assert session.stopped or session.result is None


@pytest.mark.parametrize(
    ("changes", "proves"),
    [
        ({"details": "3 items processed"}, True),
        ({"details": "3 items processed", "result": "Warning"}, True),
        ({"details": "0 items processed"}, False),
        ({"details": "done"}, False),
        ({"details": "3 items processed", "result": "Failed"}, False),
        ({"details": "3 items processed", "result": "Partly"}, False),
        ({"details": "3 items processed", "state": "Working"}, False),
        ({"details": "3 items processed", "endTime": None}, False),
    ],
)
def test_a_session_proves_a_restore_if_it_processed_items_and_did_not_fail(
    changes: dict[str, Any], *, proves: bool
) -> None:
    assert parsed(**changes).proves_restore == proves


def events(operation: EventOperation, status: EventStatus) -> EventSummary:
    return EventSummary(counts={(operation, status): 2}, size_bytes={})


@pytest.mark.parametrize(
    ("extras", "proves"),
    [
        ({"statistics": Statistics(restored=1)}, True),
        ({"statistics": Statistics(restored=0, skipped=3)}, False),
        ({"statistics": Statistics(skipped=3)}, True),
        ({"events": events(EventOperation.EXPORT, EventStatus.SUCCESS)}, True),
        ({"events": events(EventOperation.RESTORE, EventStatus.WARNING)}, True),
        ({"events": events(EventOperation.RESTORE, EventStatus.FAILED)}, False),
        ({"events": events(EventOperation.VIEW, EventStatus.SUCCESS)}, False),
        (
            {
                "statistics": Statistics(restored=0),
                "events": events(EventOperation.SEND, EventStatus.SUCCESS),
            },
            True,
        ),
    ],
)
def test_extras_decide_whether_a_session_proves_a_restore(
    extras: dict[str, Any], *, proves: bool
) -> None:
    session = parsed(details="3 items processed")._replace(**extras)

    assert session.proves_restore == proves
