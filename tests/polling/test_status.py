from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from exporter.config import TLSConfig
from exporter.polling.clock import Moment
from exporter.polling.status import (
    Anomalies,
    Heartbeat,
    PollFailure,
    ServerHealth,
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
from exporter.vb365.records.restore_session import Rejection, RejectionReason, UnknownValue
from support.poller_harness import Counts, FakeApi, PollerHarness, StandingClock
from support.sample_sessions import NOON, session_id

SERVER = PollerHarness().server


def moment(seconds: float) -> Moment:
    return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds))


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


# Health


def test_before_the_first_poll_nothing_is_known_but_whether_tls_is_verified() -> None:
    unverified = SERVER.model_copy(update={"tls_config": TLSConfig(insecure_skip_verify=True)})
    health = ServerHealth(SERVER, FakeApi())

    assert (health.status.up, health.status.tls_verified, health.has_version) == (None, True, False)
    assert not ServerHealth(unverified, FakeApi()).status.tls_verified


def test_the_status_shows_what_the_api_knows_by_now() -> None:
    api = FakeApi()
    health = ServerHealth(SERVER, api)
    api.certificate_not_after = NOON

    health.set_version("8.4")

    assert health.has_version
    assert (health.status.version, health.status.api_version) == ("8.4", "v8")
    assert health.status.certificate_not_after == NOON


def test_a_poll_is_recorded_with_its_times() -> None:
    health = ServerHealth(SERVER, FakeApi())

    health.record_poll(None, moment(10.0), moment(12.5), timestamp=99.0)

    status = health.status
    assert (status.up, status.failure_reason, status.failure_message) == (True, None, None)
    assert (status.up_since, status.failing_since) == (10.0, None)
    assert (status.last_poll_timestamp, status.last_success_timestamp) == (99.0, 99.0)
    assert status.last_poll_duration_seconds == 2.5


def test_a_failed_poll_leaves_the_time_of_the_last_success() -> None:
    health = ServerHealth(SERVER, FakeApi())
    health.record_poll(None, moment(10.0), moment(11.0), timestamp=99.0)

    health.record_poll(failure(), moment(70.0), moment(71.0), timestamp=159.0)

    status = health.status
    assert (status.up, status.failure_reason, status.failure_message) == (
        False,
        Reason.SERVER_ERROR,
        "503",
    )
    assert (status.up_since, status.failing_since) == (None, 70.0)
    assert (status.last_poll_timestamp, status.last_success_timestamp) == (159.0, 99.0)


def test_a_failure_is_new_unless_the_last_poll_failed_in_exactly_this_way() -> None:
    health = ServerHealth(SERVER, FakeApi())
    assert health.is_new_failure(failure())

    health.record_poll(failure(), moment(0.0), moment(1.0), timestamp=1.0)

    assert not health.is_new_failure(failure())
    assert health.is_new_failure(failure(message="502"))


def test_the_log_shows_when_failures_start_and_end_and_the_first_success() -> None:
    healthy, failing = (ServerHealth(SERVER, FakeApi()) for _ in range(2))
    healthy.set_version("8.4")

    with capture_logs() as logs:
        healthy.record_poll(None, moment(0.0), moment(1.0), timestamp=1.0)
        failing.record_poll(failure(), moment(20.0), moment(21.0), timestamp=1.0)
        failing.record_poll(failure(), moment(60.0), moment(61.0), timestamp=61.0)
        failing.record_poll(None, moment(120.0), moment(121.26), timestamp=121.0)
        healthy.record_poll(None, moment(60.0), moment(61.0), timestamp=61.0)

    assert logs == [
        {
            "event": "first poll succeeded",
            "log_level": "info",
            "server": "hq",
            "version": "8.4",
        },
        {
            "event": "poll failed, keeping unconfirmed data until it is stale",
            "log_level": "warning",
            "server": "hq",
            "reason": Reason.SERVER_ERROR,
            "error": "503",
            "stale_after_seconds": 180.0,
        },
        {
            "event": "poll succeeded again",
            "log_level": "info",
            "server": "hq",
            "failed_for_seconds": 101.3,
        },
    ]


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
