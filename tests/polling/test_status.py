from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from exporter.polling.status import (
    Anomalies,
    Heartbeat,
    PollFailure,
    is_server_wide,
    would_recur,
)
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ConnectError,
    NotFoundError,
    Reason,
    RequestTimeoutError,
    ServerError,
    ThrottledError,
    TlsError,
    Vb365Error,
)
from exporter.vb365.records.fields import RejectionReason, UnknownValue
from exporter.vb365.records.restore_session import Rejection
from support.poller_harness import Counts, PollerHarness, StandingClock
from support.sample_sessions import session_id

SERVER = PollerHarness().server


def failure(
    reason: Reason = Reason.SERVER_ERROR, message: str = "503", *, session_only: bool = False
) -> PollFailure:
    return PollFailure(reason=reason, message=message, session_only=session_only)


# Failures


def test_a_failed_request_is_a_failure_of_the_server() -> None:
    error = ServerError("answered 503", operation="list")

    assert PollFailure.of(error) == failure(Reason.SERVER_ERROR, "list: answered 503")


def test_a_failed_or_unreadable_session_is_a_failure_of_that_session() -> None:
    error = ServerError("answered 503", operation="get")
    server_wide = ServerError("answered 503", operation="token")
    rejection = Rejection(reason=RejectionReason.WRONG_TYPE, field="state")

    assert PollFailure.of_session("a", error) == failure(
        Reason.SERVER_ERROR, "session a: get: answered 503", session_only=True
    )
    assert PollFailure.of_session("a", server_wide) == failure(
        Reason.SERVER_ERROR, "token: answered 503"
    )
    assert PollFailure.of_session("a", rejection) == failure(
        Reason.BAD_RESPONSE, "session a cannot be read: wrong_type", session_only=True
    )
    assert PollFailure.of_unconfirmed_404("a") == failure(
        Reason.NOT_FOUND,
        "session a: get: answered 404, but no list confirms that it was deleted",
        session_only=True,
    )


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (None, True),
        (failure(message="502"), False),
        (failure(Reason.CONNECT), True),
        (failure(session_only=True), True),
    ],
)
def test_failures_differ_by_reason_and_by_how_much_they_concern(
    other: PollFailure | None,
    differs: bool,  # noqa: FBT001 - a table
) -> None:
    assert failure().differs_from(other) is differs


@pytest.mark.parametrize(
    ("error", "server_wide", "recurs"),
    [
        (ConnectError("refused", operation="get"), True, True),
        (TlsError("expired", operation="get"), True, True),
        (AuthError("no", operation="get"), True, True),
        (ThrottledError("enough", operation="get"), True, True),
        (ServerError("answered 503", operation="token"), True, True),
        (RequestTimeoutError("slow", operation="get"), False, True),
        (ServerError("answered 503", operation="get"), False, False),
        (BadResponseError("HTML", operation="get"), False, False),
        (NotFoundError("gone", operation="get"), False, False),
    ],
)
def test_errors_that_every_request_would_meet_are_server_wide_and_a_timeout_would_recur_too(
    error: Vb365Error,
    server_wide: bool,  # noqa: FBT001 - a table
    recurs: bool,  # noqa: FBT001 - a table
) -> None:
    assert (is_server_wide(error), would_recur(error)) == (server_wide, recurs)


# Anomalies


def test_anomalies_are_counted_each_time_and_logged_once_for_each_kind() -> None:
    counts = Counts()
    anomalies = Anomalies(SERVER, counts)
    rejection = Rejection(reason=RejectionReason.BAD_ID, field="id", session_id="x")

    with capture_logs() as logs:
        for _ in range(2):
            anomalies.unknown_values([UnknownValue(field="state", value="Odd")], session_id(1))
            anomalies.rejected(rejection)
            anomalies.extra_failed(session_id(1), "events", Reason.SERVER_ERROR, "503")
            anomalies.overran(61.26)
        anomalies.unknown_values([UnknownValue(field="state", value="Odder")], session_id(1))
        anomalies.rejected(Rejection(reason=RejectionReason.BAD_ID, field="other"))
        anomalies.extra_failed(session_id(1), "statistics", Reason.SERVER_ERROR, "503")
        anomalies.extra_failed(session_id(1), "events", Reason.TIMEOUT, "slow")

    assert counts.unknown_fields == ["state"] * 3
    assert counts.rejections == ["bad_id"] * 3
    assert counts.failed_extras == [
        ("events", Reason.SERVER_ERROR),
        ("events", Reason.SERVER_ERROR),
        ("statistics", Reason.SERVER_ERROR),
        ("events", Reason.TIMEOUT),
    ]
    assert counts.overruns == 2
    hq = {"log_level": "warning", "server": "hq"}
    assert logs[:4] == [
        {
            "event": "unknown enum value, exposed as Unknown",
            "field": "state",
            "value": "Odd",
            "session_id": session_id(1),
            **hq,
        },
        {
            "event": "record rejected, other records are not affected",
            "reason": "bad_id",
            "field": "id",
            "session_id": "x",
            **hq,
        },
        {
            "event": "request for session extra failed, the session itself is not affected",
            "extra": "events",
            "reason": Reason.SERVER_ERROR,
            "session_id": session_id(1),
            "error": "503",
            **hq,
        },
        {
            "event": "poll took longer than the poll interval, starting the next poll immediately",
            "took_seconds": 61.3,
            "poll_interval_seconds": 60.0,
            **hq,
        },
    ]
    assert len(logs) == 8


def test_no_more_than_two_hundred_kinds_of_anomalies_are_logged() -> None:
    counts = Counts()
    anomalies = Anomalies(SERVER, counts)

    with capture_logs() as logs:
        for number in range(201):
            anomalies.unknown_values([UnknownValue(field="state", value=f"{number}")], "x")

    assert (len(logs), len(counts.unknown_fields)) == (200, 201)


# Heartbeat


def test_a_loop_is_healthy_for_a_poll_interval_five_whole_requests_and_half_a_minute() -> None:
    clock = StandingClock()
    heartbeat = Heartbeat(SERVER, clock)

    clock.seconds += 60 + 5 * 6 * 10 + 30 - 0.1
    assert heartbeat.healthy()
    clock.seconds += 0.1
    assert not heartbeat.healthy()

    heartbeat.beat()
    assert heartbeat.healthy()
