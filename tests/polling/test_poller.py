from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from exporter.polling.plan import RESYNC_SECONDS
from exporter.polling.snapshot import Snapshot
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ConnectError,
    ForbiddenError,
    Reason,
    RequestTimeoutError,
    ServerError,
    Vb365Error,
)
from exporter.vb365.records.restore_session import (
    Rejection,
    RejectionReason,
    SessionState,
    UnknownValue,
)
from exporter.vb365.versions import ServiceInstance
from support.ledger_harness import sessions_config, shown_ids
from support.poller_harness import PollerHarness, server_error
from support.sample_sessions import finished, running, session_id


def test_a_poll_that_gets_everything_is_up() -> None:
    harness = PollerHarness(running(60), finished(1))

    snapshot = harness.poll()

    assert snapshot.status.up is True
    assert shown_ids(snapshot) == [session_id(60), session_id(1)]
    assert snapshot.status.version == "8.4"
    assert harness.clock.timestamp() == snapshot.status.last_success_timestamp
    assert harness.counts.polls == [None]
    assert harness.poller.polled_once.is_set()


def test_a_poll_lists_new_sessions_and_fetches_running_ones_and_nothing_else() -> None:
    harness = PollerHarness(running(60), finished(1), finished(90))
    harness.poll()

    harness.poll()

    assert harness.api.calls == ["list", f"get {session_id(60)}"]


def test_retries_end_inside_the_poll_interval() -> None:
    harness = PollerHarness()
    harness.poll()

    assert harness.api.deadlines == [harness.clock.seconds + 54]


def test_a_failed_poll_is_down_at_once_and_keeps_what_was_known() -> None:
    harness = PollerHarness(running(60), finished(1))
    succeeded = harness.poll()

    snapshot = harness.poll(list_error=server_error())

    assert snapshot.status.up is False
    assert snapshot.status.failure_reason == "server_error"
    assert snapshot.status.last_success_timestamp == succeeded.status.last_success_timestamp
    assert shown_ids(snapshot) == [session_id(60), session_id(1)]
    assert harness.counts.polls == [None, Reason.SERVER_ERROR]


def test_a_server_is_up_or_down_since_the_first_poll_of_its_kind_in_a_row() -> None:
    harness = PollerHarness()
    harness.poll()
    assert since(harness.poll()) == (1060.0, None)

    failed = harness.poll(list_error=server_error())
    assert since(failed) == since(harness.poll()) == (None, 1180.0)

    recovered = harness.poll(list_error=None)
    assert since(recovered) == since(harness.poll()) == (1300.0, None)


def since(snapshot: Snapshot) -> tuple[float | None, float | None]:
    return (snapshot.status.up_since, snapshot.status.failing_since)


def test_running_sessions_are_followed_even_when_the_list_fails() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    harness.api.sessions[session_id(60)] = finished(60)

    snapshot = harness.poll(list_error=server_error())

    assert snapshot.running == ()


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("refused", operation="list"),
        AuthError("no", operation="list"),
        RequestTimeoutError("slow", operation="list"),
        BadResponseError("HTML", operation="token"),
        ServerError("answered 503", operation="token"),
    ],
)
def test_after_a_server_wide_error_a_poll_makes_no_more_requests(error: Vb365Error) -> None:
    harness = PollerHarness(running(60), running(61), finished(1))
    harness.poll()

    harness.poll(list_error=error)

    assert harness.api.calls == ["list"]


def test_without_a_token_for_one_session_the_others_are_not_fetched() -> None:
    harness = PollerHarness(*(running(60 + number) for number in range(30)), finished(1))
    harness.poll()
    for session_id_ in harness.api.sessions:
        harness.api.get_errors[session_id_] = ServerError("answered 503", operation="token")

    harness.poll()

    assert 1 < len(harness.api.calls) < 30


def test_one_session_that_cannot_be_got_makes_the_poll_fail_and_only_its_own_series_old() -> None:
    harness = PollerHarness(running(60), running(61), finished(1))
    harness.poll()
    harness.api.get_errors[session_id(60)] = server_error("get")
    for _ in range(4):
        snapshot = harness.poll()

    assert snapshot.status.up is False
    assert shown_ids(snapshot.without_stale(harness.clock.seconds)) == [
        session_id(61),
        session_id(1),
    ]


def test_a_404_is_believed_when_the_list_answered() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    del harness.api.sessions[session_id(60)]

    snapshot = harness.poll()

    assert snapshot.status.up is True
    assert shown_ids(snapshot) == [session_id(1)]


def test_a_404_is_not_believed_when_the_list_failed() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    del harness.api.sessions[session_id(60)]

    snapshot = harness.poll(list_error=server_error())

    assert session_id(60) in shown_ids(snapshot)
    assert snapshot.status.up is False


def test_configured_ids_alone_are_confirmed_by_the_service_instance() -> None:
    harness = PollerHarness(
        finished(1), follow=sessions_config([session_id(1), session_id(2)], discover=False)
    )

    snapshot = harness.poll()

    assert harness.api.calls == ["service_instance", f"get {session_id(1)}", f"get {session_id(2)}"]
    assert [found.found for found in snapshot.configured_ids] == [True, False]
    assert snapshot.status.up is True
    harness.poll()
    assert harness.api.calls == ["service_instance", f"get {session_id(2)}"]


def test_an_account_that_may_not_see_the_service_instance_can_still_list() -> None:
    harness = PollerHarness(finished(1))

    snapshot = harness.poll(instance_error=ForbiddenError("no", operation="service_instance"))

    assert snapshot.status.up is True
    assert shown_ids(snapshot) == [session_id(1)]


def test_a_rejected_record_is_counted_and_the_others_are_served() -> None:
    harness = PollerHarness(finished(1))

    snapshot = harness.poll(rejections=(Rejection(reason=RejectionReason.BAD_ID, field="id"),))

    assert snapshot.status.up is True
    assert shown_ids(snapshot) == [session_id(1)]
    assert harness.counts.rejections == ["bad_id"]


UNREADABLE = Rejection(reason=RejectionReason.NOT_AN_OBJECT)


def test_a_history_that_cannot_be_read_for_a_while_is_not_taken_for_deleted() -> None:
    harness = PollerHarness(*(finished(number) for number in range(60, 260)), finished(1))
    before = harness.poll()
    sessions, harness.api.sessions = harness.api.sessions, {session_id(1): finished(1)}
    harness.clock.seconds += RESYNC_SECONDS

    unreadable = harness.poll(rejections=(UNREADABLE,) * 200)

    assert shown_ids(before) == shown_ids(unreadable)
    assert shown_ids(before) == shown_ids(harness.poll(sessions=sessions, rejections=()))


def test_a_first_list_of_which_nothing_can_be_read_is_no_baseline() -> None:
    harness = PollerHarness()
    harness.poll(rejections=(UNREADABLE,))

    snapshot = harness.poll(sessions={session_id(1): finished(1)}, rejections=())

    assert shown_ids(snapshot) == [session_id(1)]
    assert dict(snapshot.activity.started) == {}
    assert dict(snapshot.activity.finished) == {}


def test_a_fetched_session_that_cannot_be_read_is_a_failure() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()

    snapshot = harness.poll(unreadable={session_id(60)})

    assert snapshot.status.failure_reason == "bad_response"


def test_unknown_values_are_counted_each_time_and_logged_once() -> None:
    odd = running(
        60, state=SessionState.UNKNOWN, unknown_values=(UnknownValue(field="state", value="Odd"),)
    )
    harness = PollerHarness(odd)

    with capture_logs() as logs:
        harness.poll()
        harness.poll()

    assert harness.counts.unknown_fields == ["state", "state"]
    assert sum(entry["event"] == "unknown enum value, exposed as Unknown" for entry in logs) == 1


def test_a_failure_is_logged_when_it_starts_changes_and_ends_and_not_at_every_poll() -> None:
    harness = PollerHarness()
    harness.poll()

    with capture_logs() as logs:
        harness.poll(list_error=server_error())
        harness.poll(list_error=server_error())
        harness.poll(list_error=ConnectError("refused", operation="list"))
        harness.poll(list_error=None)
        harness.poll()

    assert [(entry["log_level"], entry.get("reason")) for entry in logs] == [
        ("warning", "server_error"),
        ("warning", "connect"),
        ("info", None),
    ]
    assert logs[-1]["failed_for_seconds"] == 180.0


def test_a_failure_of_one_session_and_one_of_the_server_are_logged_separately() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    harness.api.get_errors[session_id(60)] = server_error("get")

    with capture_logs() as logs:
        harness.poll()
        harness.poll()
        harness.poll(list_error=server_error())
        harness.poll()
        harness.poll(list_error=None)
        harness.api.get_errors.clear()
        harness.poll()

    of_the_session = f"session {session_id(60)}: get: answered 503"
    assert [entry.get("error") for entry in logs] == [
        of_the_session,
        "list: answered 503",
        of_the_session,
        None,
    ]
    assert logs[-1]["failed_for_seconds"] == 300.0


def test_an_unexpected_error_is_a_failed_poll_and_not_the_end_of_polling() -> None:
    harness = PollerHarness()

    def broken() -> ServiceInstance:
        raise RuntimeError("a defect")

    with capture_logs() as logs:
        snapshot = harness.poll(service_instance=broken)
        harness.poll()

    assert snapshot.status.failure_reason == "internal"
    assert ["exc_info" in entry for entry in logs] == [True, False]


def test_an_abandoned_poll_publishes_nothing() -> None:
    harness = PollerHarness(finished(1))
    harness.stop.set()

    harness.poller.poll()

    assert harness.published == []
    assert harness.counts.polls == []


def test_a_poller_that_does_not_move_for_longer_than_its_longest_wait_is_unhealthy() -> None:
    harness = PollerHarness()
    assert harness.poller.heartbeat.healthy()

    harness.clock.seconds += 60 + 5 * 6 * 10
    assert harness.poller.heartbeat.healthy()
    harness.clock.seconds += 30

    assert not harness.poller.heartbeat.healthy()
    harness.poll()
    assert harness.poller.heartbeat.healthy()


def test_a_service_instance_that_fails_does_not_hide_the_sessions() -> None:
    harness = PollerHarness(finished(1))

    snapshot = harness.poll(instance_error=server_error("service_instance"))

    assert snapshot.status.up is False
    assert shown_ids(snapshot) == [session_id(1)]
    assert snapshot.listed
