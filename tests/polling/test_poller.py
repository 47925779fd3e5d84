from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from exporter.polling.ledger import WALK_EVERY_SECONDS
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
from exporter.vb365.instance import ServiceInstance
from exporter.vb365.records.restore_session import (
    Rejection,
    RejectionReason,
    SessionState,
    UnknownValue,
)
from support.ledgers import sessions_config, shown_ids
from support.pollers import Bench, server_error
from support.sessions import finished, running, session_id


def test_a_poll_that_gets_everything_is_up() -> None:
    bench = Bench(running(60), finished(1))

    snapshot = bench.poll()

    assert True is snapshot.status.up
    assert [session_id(60), session_id(1)] == shown_ids(snapshot)
    assert snapshot.status.version == "8.4"
    assert bench.clock.timestamp() == snapshot.status.last_success_timestamp
    assert bench.counts.polls == [None]
    assert bench.poller.polled_once.is_set()


def test_a_poll_asks_for_new_sessions_and_for_running_ones_and_nothing_else() -> None:
    bench = Bench(running(60), finished(1), finished(90))
    bench.poll()

    bench.poll()

    assert ["list", f"get {session_id(60)}"] == bench.api.calls


def test_retries_end_inside_the_poll_interval() -> None:
    bench = Bench()
    bench.poll()

    assert [bench.clock.seconds + 54] == bench.api.deadlines


def test_a_failed_poll_is_down_at_once_and_keeps_what_was_known() -> None:
    bench = Bench(running(60), finished(1))
    succeeded = bench.poll()

    snapshot = bench.poll(list_error=server_error())

    assert False is snapshot.status.up
    assert snapshot.status.failure_reason == "server_error"
    assert succeeded.status.last_success_timestamp == snapshot.status.last_success_timestamp
    assert [session_id(60), session_id(1)] == shown_ids(snapshot)
    assert bench.counts.polls == [None, Reason.SERVER_ERROR]


def test_a_server_is_up_or_down_since_the_first_poll_of_its_kind_in_a_row() -> None:
    bench = Bench()
    bench.poll()
    assert since(bench.poll()) == (1060.0, None)

    failed = bench.poll(list_error=server_error())
    assert (None, 1180.0) == since(failed) == since(bench.poll())

    recovered = bench.poll(list_error=None)
    assert (1300.0, None) == since(recovered) == since(bench.poll())


def since(snapshot: Snapshot) -> tuple[float | None, float | None]:
    return (snapshot.status.up_since, snapshot.status.failing_since)


def test_running_sessions_are_followed_even_when_the_list_fails() -> None:
    bench = Bench(running(60), finished(1))
    bench.poll()
    bench.api.sessions[session_id(60)] = finished(60)

    snapshot = bench.poll(list_error=server_error())

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
def test_a_server_that_cannot_be_talked_to_is_not_asked_any_further(error: Vb365Error) -> None:
    bench = Bench(running(60), running(61), finished(1))
    bench.poll()

    bench.poll(list_error=error)

    assert bench.api.calls == ["list"]


def test_when_a_session_can_get_no_token_the_others_are_not_asked_for() -> None:
    bench = Bench(*(running(60 + number) for number in range(30)), finished(1))
    bench.poll()
    for session_id_ in bench.api.sessions:
        bench.api.get_errors[session_id_] = ServerError("answered 503", operation="token")

    bench.poll()

    assert 1 < len(bench.api.calls) < 30


def test_one_session_that_cannot_be_got_makes_the_poll_fail_and_only_its_own_series_old() -> None:
    bench = Bench(running(60), running(61), finished(1))
    bench.poll()
    bench.api.get_errors[session_id(60)] = server_error("get")
    for _ in range(4):
        snapshot = bench.poll()

    assert False is snapshot.status.up
    assert [session_id(61), session_id(1)] == shown_ids(snapshot.fresh(bench.clock.seconds))


def test_a_404_is_believed_when_the_list_answered() -> None:
    bench = Bench(running(60), finished(1))
    bench.poll()
    del bench.api.sessions[session_id(60)]

    snapshot = bench.poll()

    assert True is snapshot.status.up
    assert [session_id(1)] == shown_ids(snapshot)


def test_a_404_is_not_believed_when_the_list_failed() -> None:
    bench = Bench(running(60), finished(1))
    bench.poll()
    del bench.api.sessions[session_id(60)]

    snapshot = bench.poll(list_error=server_error())

    assert session_id(60) in shown_ids(snapshot)
    assert False is snapshot.status.up


def test_configured_ids_alone_are_vouched_for_by_the_service_instance() -> None:
    bench = Bench(
        finished(1), follow=sessions_config([session_id(1), session_id(2)], discover=False)
    )

    snapshot = bench.poll()

    assert ["service_instance", f"get {session_id(1)}", f"get {session_id(2)}"] == bench.api.calls
    assert [found.found for found in snapshot.found_ids] == [True, False]
    assert True is snapshot.status.up
    bench.poll()
    assert ["service_instance", f"get {session_id(2)}"] == bench.api.calls


def test_an_account_that_may_not_see_the_service_instance_can_still_list() -> None:
    bench = Bench(finished(1))

    snapshot = bench.poll(instance_error=ForbiddenError("no", operation="service_instance"))

    assert True is snapshot.status.up
    assert [session_id(1)] == shown_ids(snapshot)


def test_a_rejected_record_is_counted_and_the_others_are_served() -> None:
    bench = Bench(finished(1))

    snapshot = bench.poll(rejections=(Rejection(reason=RejectionReason.BAD_ID, field="id"),))

    assert True is snapshot.status.up
    assert [session_id(1)] == shown_ids(snapshot)
    assert bench.counts.rejections == ["bad_id"]


UNREADABLE = Rejection(reason=RejectionReason.NOT_AN_OBJECT)


def test_a_history_that_cannot_be_read_for_a_while_is_not_taken_for_deleted() -> None:
    bench = Bench(*(finished(number) for number in range(60, 260)), finished(1))
    before = bench.poll()
    sessions, bench.api.sessions = bench.api.sessions, {session_id(1): finished(1)}
    bench.clock.seconds += WALK_EVERY_SECONDS

    unreadable = bench.poll(rejections=(UNREADABLE,) * 200)

    assert shown_ids(before) == shown_ids(unreadable)
    assert shown_ids(before) == shown_ids(bench.poll(sessions=sessions, rejections=()))


def test_a_first_list_of_which_nothing_can_be_read_is_no_look_to_count_from() -> None:
    bench = Bench()
    bench.poll(rejections=(UNREADABLE,))

    snapshot = bench.poll(sessions={session_id(1): finished(1)}, rejections=())

    assert [session_id(1)] == shown_ids(snapshot)
    assert dict(snapshot.activity.started) == {}
    assert dict(snapshot.activity.finished) == {}


def test_a_session_that_was_asked_for_and_cannot_be_read_is_a_failure() -> None:
    bench = Bench(running(60), finished(1))
    bench.poll()

    snapshot = bench.poll(unreadable={session_id(60)})

    assert snapshot.status.failure_reason == "bad_response"


def test_unknown_values_are_counted_each_time_and_logged_once() -> None:
    odd = running(
        60, state=SessionState.UNKNOWN, unknown_values=(UnknownValue(field="state", value="Odd"),)
    )
    bench = Bench(odd)

    with capture_logs() as logs:
        bench.poll()
        bench.poll()

    assert bench.counts.unknown_fields == ["state", "state"]
    assert sum(entry["event"] == "unknown value shown as Unknown" for entry in logs) == 1


def test_a_failure_is_logged_when_it_starts_changes_and_ends_and_not_at_every_poll() -> None:
    bench = Bench()
    bench.poll()

    with capture_logs() as logs:
        bench.poll(list_error=server_error())
        bench.poll(list_error=server_error())
        bench.poll(list_error=ConnectError("refused", operation="list"))
        bench.poll(list_error=None)
        bench.poll()

    assert [(entry["log_level"], entry.get("reason")) for entry in logs] == [
        ("warning", "server_error"),
        ("warning", "connect"),
        ("info", None),
    ]
    assert logs[-1]["failed_for_seconds"] == 180.0


def test_a_failure_of_one_session_and_one_of_the_server_are_told_apart() -> None:
    bench = Bench(running(60), finished(1))
    bench.poll()
    bench.api.get_errors[session_id(60)] = server_error("get")

    with capture_logs() as logs:
        bench.poll()
        bench.poll()
        bench.poll(list_error=server_error())
        bench.poll()
        bench.poll(list_error=None)
        bench.api.get_errors.clear()
        bench.poll()

    of_the_session = f"session {session_id(60)}: get: answered 503"
    assert [of_the_session, "list: answered 503", of_the_session, None] == [
        entry.get("error") for entry in logs
    ]
    assert logs[-1]["failed_for_seconds"] == 300.0


def test_a_defect_of_our_own_is_a_failed_poll_and_not_the_end_of_polling() -> None:
    bench = Bench()

    def broken() -> ServiceInstance:
        raise RuntimeError("a defect")

    with capture_logs() as logs:
        snapshot = bench.poll(service_instance=broken)
        bench.poll()

    assert snapshot.status.failure_reason == "internal"
    assert ["exc_info" in entry for entry in logs] == [True, False]


def test_an_abandoned_poll_says_nothing() -> None:
    bench = Bench(finished(1))
    bench.stop.set()

    bench.poller.poll()

    assert bench.published == []
    assert bench.counts.polls == []


def test_a_poller_that_does_not_move_for_longer_than_its_longest_wait_is_unhealthy() -> None:
    bench = Bench()
    assert bench.poller.healthy()

    bench.clock.seconds += 60 + 5 * 6 * 10
    assert bench.poller.healthy()
    bench.clock.seconds += 30

    assert not bench.poller.healthy()
    bench.poll()
    assert bench.poller.healthy()


def test_a_service_instance_that_fails_does_not_hide_the_sessions() -> None:
    bench = Bench(finished(1))

    snapshot = bench.poll(instance_error=server_error("service_instance"))

    assert False is snapshot.status.up
    assert [session_id(1)] == shown_ids(snapshot)
    assert snapshot.listed
