from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from exporter.config import TLSConfig
from exporter.polling.clock import Moment
from exporter.polling.health import Heartbeat, PollFailure, StatusTracker
from exporter.vb365.errors import Reason, ServerError
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Rejection
from support.poller_harness import FakeApi, PollerHarness, StandingClock
from support.sample_sessions import NOON

SERVER = PollerHarness().server
UNVERIFIED = SERVER.model_copy(update={"tls_config": TLSConfig(insecure_skip_verify=True)})


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


# Health


def test_before_the_first_poll_nothing_is_known_but_whether_tls_is_verified() -> None:
    tracker = StatusTracker(SERVER)

    assert (
        tracker.status(FakeApi()).up,
        tracker.status(FakeApi()).tls_verified,
        tracker.has_version,
    ) == (None, True, False)
    assert not StatusTracker(UNVERIFIED).status(FakeApi()).tls_verified


def test_the_status_shows_what_the_api_knows_by_now() -> None:
    api = FakeApi()
    tracker = StatusTracker(SERVER)
    api.certificate_not_after = NOON

    tracker.set_version("8.4")

    status = tracker.status(api)
    assert tracker.has_version
    assert (status.version, status.api_version) == ("8.4", "v8")
    assert status.certificate_not_after == NOON


def test_a_poll_is_recorded_with_its_times() -> None:
    tracker = StatusTracker(SERVER)

    tracker.record_poll(None, moment(10.0), moment(12.5), timestamp=99.0)

    status = tracker.status(FakeApi())
    assert (status.up, status.failure_reason, status.failure_message) == (True, None, None)
    assert (status.up_since, status.failing_since) == (10.0, None)
    assert (status.last_poll_timestamp, status.last_success_timestamp) == (99.0, 99.0)
    assert status.last_poll_duration_seconds == 2.5


def test_a_failed_poll_leaves_the_time_of_the_last_success() -> None:
    tracker = StatusTracker(SERVER)
    tracker.record_poll(None, moment(10.0), moment(11.0), timestamp=99.0)

    tracker.record_poll(failure(), moment(70.0), moment(71.0), timestamp=159.0)

    status = tracker.status(FakeApi())
    assert (status.up, status.failure_reason, status.failure_message) == (
        False,
        Reason.SERVER_ERROR,
        "503",
    )
    assert (status.up_since, status.failing_since) == (None, 70.0)
    assert (status.last_poll_timestamp, status.last_success_timestamp) == (159.0, 99.0)


def test_a_failure_is_new_unless_the_last_poll_failed_in_exactly_this_way() -> None:
    tracker = StatusTracker(SERVER)
    assert tracker.is_new_failure(failure())

    tracker.record_poll(failure(), moment(0.0), moment(1.0), timestamp=1.0)

    assert not tracker.is_new_failure(failure())
    assert tracker.is_new_failure(failure(message="502"))


def test_the_log_shows_when_failures_start_and_end_and_the_first_success() -> None:
    healthy, failing = (StatusTracker(SERVER) for _ in range(2))
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


def test_a_changed_configuration_leaves_what_is_known_and_logs_a_failure_again() -> None:
    tracker = StatusTracker(SERVER)
    tracker.record_poll(None, moment(10.0), moment(11.0), timestamp=99.0)
    tracker.record_poll(failure(), moment(70.0), moment(71.0), timestamp=159.0)

    tracker.configure(UNVERIFIED)
    with capture_logs() as logs:
        tracker.record_poll(failure(), moment(130.0), moment(131.0), timestamp=219.0)

    status = tracker.status(FakeApi())
    assert (status.last_success_timestamp, status.failing_since) == (99.0, 70.0)
    assert not status.tls_verified
    assert [entry["event"] for entry in logs] == [
        "poll failed, keeping unconfirmed data until it is stale"
    ]


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
