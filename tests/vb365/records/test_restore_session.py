from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.vb365.records.fields import parse_timestamp
from exporter.vb365.records.restore_session import (
    Rejection,
    RejectionReason,
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
    parse_session,
)

# Payloads in the forms that servers of several versions are known to send.
PAYLOADS = json.loads((Path(__file__).parents[1] / "payloads.json").read_text(encoding="utf-8"))


def record(**changes: Any) -> dict[str, Any]:
    """A finished session as v6 sends it; a change to `...` leaves the property out."""
    made = {**PAYLOADS["v6_stopped"], **changes}
    return {key: value for key, value in made.items() if value is not ...}


def parsed(**changes: Any) -> RestoreSession:
    session = parse_session(record(**changes))
    assert isinstance(session, RestoreSession)
    return session


def test_every_property_of_the_resource_is_read() -> None:
    session = parsed(scopeName="Sales", reason="Ticket 17", eTag=42)

    assert (
        RestoreSession(
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
        == session
    )
    assert pytest.approx(3601.697, abs=0.0005) == session.duration_seconds
    assert session.processed_items == 0


@pytest.mark.parametrize("name", [name for name in PAYLOADS if "working" in name])
def test_a_running_session_of_any_version_has_not_ended_and_has_no_result(name: str) -> None:
    session = parse_session(PAYLOADS[name])

    assert isinstance(session, RestoreSession)
    assert SessionState.WORKING is session.state
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
    ("text", "microseconds"),
    [
        ("2022-02-22T15:40:25Z", 0),
        ("2022-02-22T15:40:25.1Z", 100000),
        ("2022-02-22T15:40:25.471748Z", 471748),
        ("2022-02-22T15:40:25.1612392Z", 161239),
        ("2022-02-22T18:40:25.5+03:00", 500000),
        ("2022-02-22T08:40:25.25-07:00", 250000),
        ("2022-02-22T15:40:25", 0),
    ],
)
def test_timestamps_have_up_to_seven_digits_and_any_offset(text: str, microseconds: int) -> None:
    assert datetime(2022, 2, 22, 15, 40, 25, microseconds, UTC) == parse_timestamp(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "20220222",
        "2022-02-22",
        "2022-W08-2",
        "2022-W08-2T15:40:25Z",
        "2022-02-30T00:00:00Z",
        "x" * 99,
    ],
)
def test_what_is_no_timestamp_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"timestamp|isoformat|range"):
        parse_timestamp(text)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"id": ...}, RejectionReason.MISSING_FIELD, "id"),
        ({"id": None}, RejectionReason.MISSING_FIELD, "id"),
        ({"id": 7}, RejectionReason.WRONG_TYPE, "id"),
        ({"id": "../../token"}, RejectionReason.BAD_ID, "id"),
        ({"id": "635b22cf-9cdc-4004-9160-9b90f90f1bbf\n"}, RejectionReason.BAD_ID, "id"),
        ({"creationTime": ...}, RejectionReason.MISSING_FIELD, "creationTime"),
        ({"creationTime": 1645544425}, RejectionReason.WRONG_TYPE, "creationTime"),
        ({"creationTime": "soon"}, RejectionReason.BAD_TIME, "creationTime"),
        ({"creationTime": "0001-01-01T00:00:00Z"}, RejectionReason.BAD_TIME, "creationTime"),
        ({"endTime": "later"}, RejectionReason.BAD_TIME, "endTime"),
        ({"endTime": False}, RejectionReason.WRONG_TYPE, "endTime"),
        ({"state": 3}, RejectionReason.WRONG_TYPE, "state"),
        ({"type": ["Vex"]}, RejectionReason.WRONG_TYPE, "type"),
        ({"result": {}}, RejectionReason.WRONG_TYPE, "result"),
        ({"organization": 1.5}, RejectionReason.WRONG_TYPE, "organization"),
        ({"details": []}, RejectionReason.WRONG_TYPE, "details"),
        ({"eTag": True}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": math.inf}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": 2**63}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": -(2**63) - 1}, RejectionReason.WRONG_TYPE, "eTag"),
        ({"eTag": str(2**63)}, RejectionReason.WRONG_TYPE, "eTag"),
    ],
)
def test_a_record_that_is_no_session_says_why(
    changes: dict[str, Any], reason: RejectionReason, field: str
) -> None:
    rejection = parse_session(record(**changes))

    assert isinstance(rejection, Rejection)
    assert (reason, field) == (rejection.reason, rejection.field)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("state", "Starting", SessionState.UNKNOWN),
        ("state", None, SessionState.UNKNOWN),
        ("state", "Unknown", SessionState.UNKNOWN),
        ("type", "Vplanner", SessionType.UNKNOWN),
        ("type", ..., SessionType.UNKNOWN),
        ("result", "Cancelled", SessionResult.UNKNOWN),
        ("result", None, SessionResult.UNKNOWN),
    ],
)
def test_an_unknown_enum_value_is_shown_as_unknown_and_reported(
    field: str, value: object, shown: object
) -> None:
    session = parsed(**{field: value})

    assert shown is getattr(session, field)
    assert field in [unknown.field for unknown in session.unknown_values]


def test_a_session_in_an_unknown_state_still_runs() -> None:
    session = parsed(state="Stopping")

    assert not session.stopped
    assert session.result is None


def test_types_in_lower_case_are_those_of_old_servers() -> None:
    assert SessionType.VEOD is parsed(type="veod").type


def test_ids_are_shown_in_lower_case() -> None:
    assert (
        parsed(id="635B22CF-9CDC-4004-9160-9B90F90F1BBF").id
        == "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
    )


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
    assert timedelta(0).total_seconds() == parsed(endTime=record()["creationTime"]).duration_seconds


@pytest.mark.parametrize(
    ("details", "items"),
    [
        ("0 items processed", 0),
        ("1 item processed", 1),
        ("12 items processed (11 succeeded)", 12),
        ("12 items", None),
        ("some items processed", None),
        ("", None),
        ("9" * 40 + " items processed", None),
        ("١ items processed", None),
    ],
)
def test_processed_items_are_read_only_from_the_one_known_form(
    details: str, items: int | None
) -> None:
    assert items == parsed(details=details).processed_items


def test_numbers_may_come_as_strings() -> None:
    assert parsed(eTag="42").e_tag == 42


def test_a_hostile_text_is_bounded() -> None:
    assert len(parsed(name="x" * 10_000_000).name) < 10_000


def test_equal_texts_are_one_string() -> None:
    texts = [f"{number} items processed" for number in (1, 1)]

    one, other = (parsed(details=text).details for text in texts)

    assert one is other


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
