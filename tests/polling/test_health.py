from __future__ import annotations

from datetime import timedelta

from structlog.testing import capture_logs

from exporter.config import TLSConfig
from exporter.polling.clock import Moment
from exporter.polling.health import ServerHealth
from exporter.polling.status import PollFailure
from exporter.vb365.errors import Reason
from support.poller_harness import FakeApi, PollerHarness
from support.sample_sessions import NOON

SERVER = PollerHarness().server
UNVERIFIED = SERVER.model_copy(update={"tls_config": TLSConfig(insecure_skip_verify=True)})


def moment(seconds: float) -> Moment:
    return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds))


def failure(message: str = "503") -> PollFailure:
    return PollFailure(reason=Reason.SERVER_ERROR, message=message)


def test_before_the_first_poll_nothing_is_known_but_whether_tls_is_verified() -> None:
    health = ServerHealth(SERVER)

    assert (
        health.status(FakeApi()).up,
        health.status(FakeApi()).tls_verified,
        health.has_version,
    ) == (None, True, False)
    assert not ServerHealth(UNVERIFIED).status(FakeApi()).tls_verified


def test_the_status_shows_what_the_api_knows_by_now() -> None:
    api = FakeApi()
    health = ServerHealth(SERVER)
    api.certificate_not_after = NOON

    health.set_version("8.4")

    status = health.status(api)
    assert health.has_version
    assert (status.version, status.api_version) == ("8.4", "v8")
    assert status.certificate_not_after == NOON


def test_a_poll_is_recorded_with_its_times() -> None:
    health = ServerHealth(SERVER)

    health.record_poll(None, moment(10.0), moment(12.5), timestamp=99.0)

    status = health.status(FakeApi())
    assert (status.up, status.failure_reason, status.failure_message) == (True, None, None)
    assert (status.up_since, status.failing_since) == (10.0, None)
    assert (status.last_poll_timestamp, status.last_success_timestamp) == (99.0, 99.0)
    assert status.last_poll_duration_seconds == 2.5


def test_a_failed_poll_leaves_the_time_of_the_last_success() -> None:
    health = ServerHealth(SERVER)
    health.record_poll(None, moment(10.0), moment(11.0), timestamp=99.0)

    health.record_poll(failure(), moment(70.0), moment(71.0), timestamp=159.0)

    status = health.status(FakeApi())
    assert (status.up, status.failure_reason, status.failure_message) == (
        False,
        Reason.SERVER_ERROR,
        "503",
    )
    assert (status.up_since, status.failing_since) == (None, 70.0)
    assert (status.last_poll_timestamp, status.last_success_timestamp) == (159.0, 99.0)


def test_a_failure_is_new_unless_the_last_poll_failed_in_exactly_this_way() -> None:
    health = ServerHealth(SERVER)
    assert health.is_new_failure(failure())

    health.record_poll(failure(), moment(0.0), moment(1.0), timestamp=1.0)

    assert not health.is_new_failure(failure())
    assert health.is_new_failure(failure(message="502"))


def test_the_log_shows_when_failures_start_and_end_and_the_first_success() -> None:
    healthy, failing = (ServerHealth(SERVER) for _ in range(2))
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
    health = ServerHealth(SERVER)
    health.record_poll(None, moment(10.0), moment(11.0), timestamp=99.0)
    health.record_poll(failure(), moment(70.0), moment(71.0), timestamp=159.0)

    health.configure(UNVERIFIED)
    with capture_logs() as logs:
        health.record_poll(failure(), moment(130.0), moment(131.0), timestamp=219.0)

    status = health.status(FakeApi())
    assert (status.last_success_timestamp, status.failing_since) == (99.0, 70.0)
    assert not status.tls_verified
    assert [entry["event"] for entry in logs] == [
        "poll failed, keeping unconfirmed data until it is stale"
    ]
