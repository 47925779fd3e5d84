from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.polling.changefeed import PendingChanges
from exporter.polling.plan import RESYNC_SECONDS
from exporter.polling.snapshot import Snapshot
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ConnectError,
    ForbiddenError,
    NotFoundError,
    Reason,
    RequestTimeoutError,
    ServerError,
    Vb365Error,
)
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.fields import RejectionReason, UnknownValue
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession, SessionState
from support.ledger_harness import sessions_config, shown_ids
from support.poller_harness import PollerHarness, server_error
from support.sample_sessions import NOON, finished, running, session_id


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


def test_sessions_are_fetched_in_threads_named_after_the_server() -> None:
    harness = PollerHarness(follow=sessions_config([session_id(1), session_id(2)], discover=False))
    names: set[str] = set()

    def get_session(session_id: str) -> RestoreSession:
        names.add(threading.current_thread().name.rstrip("0123456789"))
        return running(int(session_id[-1]))

    harness.poll(get_session=get_session)

    assert names == {"get-hq-"}


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


def test_a_404_is_not_believed_when_the_list_shows_the_session() -> None:
    harness = PollerHarness(running(60), running(61), finished(1))
    harness.poll()
    harness.api.get_errors[session_id(60)] = NotFoundError("not found", operation="get", status=404)

    snapshot = harness.poll()

    assert harness.api.calls == [
        "list",
        f"get {session_id(60)}",
        f"get {session_id(61)}",
        "list",
    ]
    assert shown_ids(snapshot) == [session_id(60), session_id(61), session_id(1)]
    assert snapshot.status.failure_reason == "not_found"
    assert snapshot.status.failure_message == (
        f"session {session_id(60)}: get: answered 404, but no list confirms that it was deleted"
    )
    harness.api.get_errors.clear()
    assert harness.poll().status.up is True


def test_a_404_is_not_believed_when_the_list_that_must_confirm_it_fails() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    del harness.api.sessions[session_id(60)]

    error = ServerError("answered 503", operation="list")
    snapshot = harness.poll(list_sessions=FailingSecondList(harness, error))

    assert session_id(60) in shown_ids(snapshot)
    assert snapshot.status.failure_reason == "server_error"


@pytest.mark.parametrize(
    ("wrong_polls", "shown"),
    [
        ((1,), [1, 20, 20, 20, 20, 20]),
        ((3,), [20, 20, 20, 20, 20, 20]),
        ((3, 4), [20, 20, 20, 1, 20, 20]),
    ],
)
def test_a_server_clock_that_was_wrong_hides_no_session_once_it_is_right(
    wrong_polls: tuple[int, ...], shown: list[int]
) -> None:
    harness = PollerHarness(
        running(100),
        *(finished(n, creation_time=NOON - timedelta(hours=n)) for n in range(1, 20)),
    )
    actual = []
    for poll in range(1, 7):
        ahead = timedelta(days=400 if poll in wrong_polls else 0)
        harness.api.server_time = harness.clock.now().wall + ahead
        actual.append(len(shown_ids(harness.poll())))
        harness.clock.seconds += 60

    assert actual == shown
    assert not harness.published[-1].activity.finished


@pytest.mark.parametrize(("hours_back", "lists"), [(0, 1), (3, 2)])
def test_sessions_are_found_in_the_poll_whose_responses_show_that_the_clock_was_set_back(
    hours_back: int, lists: int
) -> None:
    harness = PollerHarness(finished(1))
    harness.poll(server_time=NOON)
    now = NOON - timedelta(hours=hours_back)
    new = running(60, creation_time=now)
    harness.api.sessions[new.id] = new
    list_sessions = harness.api.list_sessions

    def listed(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        harness.api.server_time = now
        return list_sessions(created_since=created_since, page_size=page_size)

    snapshot = harness.poll(list_sessions=listed)

    assert new.id in shown_ids(snapshot)
    assert harness.api.calls == ["list"] * lists


def test_a_clock_that_is_set_back_with_every_response_causes_one_more_list() -> None:
    harness = PollerHarness(finished(1))
    harness.poll(server_time=NOON)
    list_sessions = harness.api.list_sessions

    def listed(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        assert harness.api.server_time is not None
        harness.api.server_time -= timedelta(hours=1)
        return list_sessions(created_since=created_since, page_size=page_size)

    harness.poll(list_sessions=listed)

    assert harness.api.calls == ["list", "list"]


def test_servers_whose_clocks_disagree_cause_a_full_list_in_ten_minutes() -> None:
    harness = PollerHarness(*(finished(number) for number in range(1, 10)))
    harness.poll(server_time=NOON)
    full_lists = []
    list_sessions = harness.api.list_sessions

    def listed(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        if created_since is None:
            full_lists.append(harness.clock.monotonic())
        return list_sessions(created_since=created_since, page_size=page_size)

    harness.api.list_sessions = listed  # type: ignore[method-assign] # to see what is listed
    first = harness.clock.monotonic()
    for poll in range(50):
        behind = timedelta(minutes=30 * (poll % 2))
        harness.poll(server_time=harness.clock.now().wall - behind)

    assert [at - first for at in full_lists] == [120.0 + 600.0 * number for number in range(5)]


def test_a_server_clock_that_differs_by_more_than_a_day_is_logged_once() -> None:
    harness = PollerHarness(running(1))
    with capture_logs() as logs:
        for days_ahead in (1, -400, 400, 0):
            now = harness.clock.now().wall + timedelta(seconds=60)  # of the next poll
            harness.poll(server_time=now + timedelta(days=days_ahead))

    assert [entry for entry in logs if "differs" in entry["event"]] == [
        {
            "event": "server's clock differs from this machine's by more than a day, lookback follows the server's",
            "server": "hq",
            "server_ahead_seconds": -400 * 86_400,
            "log_level": "warning",
        }
    ]


@pytest.mark.parametrize(
    ("listed", "left", "share", "level"),
    [(35, 12, "more than half", "warning"), (400, 249, "many", "info")],
)
def test_a_full_list_that_lost_many_sessions_is_logged_and_listed_again_in_the_next_poll(
    listed: int, left: int, share: str, level: str
) -> None:
    harness = PollerHarness(*(finished(number) for number in range(1, listed + 1)))
    before = harness.poll()
    harness.api.sessions = {session_id(n): finished(n) for n in range(1, left + 1)}
    harness.clock.seconds += RESYNC_SECONDS

    with capture_logs() as logs:
        doubtful = harness.poll()
        believed = harness.poll()

    assert shown_ids(doubtful) == shown_ids(before)
    assert len(shown_ids(believed)) == left
    assert logs == [
        {
            "event": f"full list is missing {share} of the known sessions{consequence}",
            "server": "hq",
            "sessions": listed,
            "missing": listed - left,
            "log_level": level,
        }
        for consequence in (
            ", listing again in the next poll",
            " again, accepting it",
        )
    ]


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


def test_a_configured_id_that_the_server_does_not_know_is_logged_once() -> None:
    harness = PollerHarness(finished(1), follow=sessions_config([session_id(1), session_id(2)]))

    with capture_logs() as logs:
        snapshots = [harness.poll(), harness.poll()]

    assert [snapshot.status.up for snapshot in snapshots] == [True, True]
    assert [entry for entry in logs if entry["log_level"] == "warning"] == [
        {
            "event": "configured session does not exist on the server, requesting it again in every poll",
            "server": "hq",
            "session_id": session_id(2),
            "log_level": "warning",
        }
    ]


def test_an_account_that_may_not_see_the_service_instance_can_still_list() -> None:
    harness = PollerHarness(finished(1))

    snapshot = harness.poll(version_error=ForbiddenError("no", operation="service_instance"))

    assert snapshot.status.up is True
    assert snapshot.status.version == ""
    assert shown_ids(snapshot) == [session_id(1)]
    harness.poll()
    assert harness.api.calls == ["list"]


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

    unreadable = harness.poll(rejections=(UNREADABLE,) * 200, unreadable=set(sessions))

    assert unreadable.status.up is True
    assert shown_ids(before) == shown_ids(unreadable)
    assert shown_ids(before) == shown_ids(harness.poll(sessions=sessions, rejections=()))


@pytest.mark.parametrize("deleted", [100, 101, 120, 160])
@pytest.mark.parametrize("has_id", [True, False])
def test_deletions_beside_an_unreadable_record_are_noticed(
    deleted: int,
    has_id: bool,  # noqa: FBT001 - a parameter
) -> None:
    harness = PollerHarness(*(finished(number) for number in range(1, 201)))
    rejection = Rejection(
        reason=RejectionReason.WRONG_TYPE, session_id=session_id(999) if has_id else ""
    )
    harness.poll(rejections=(rejection,))
    for number in range(201 - deleted, 201):
        del harness.api.sessions[session_id(number)]

    for after_seconds in (RESYNC_SECONDS, 60.0, RESYNC_SECONDS):
        harness.clock.seconds += after_seconds
        snapshot = harness.poll()

    assert snapshot.status.up is True
    assert sorted(shown_ids(snapshot)) == [session_id(number) for number in range(1, 201 - deleted)]


@pytest.mark.parametrize("number", [1, 60])
@pytest.mark.parametrize("has_id", [True, False])
def test_a_finished_session_that_cannot_be_read_stays_as_it_was_and_fails_no_poll(
    number: int,
    has_id: bool,  # noqa: FBT001 - a parameter
) -> None:
    harness = PollerHarness(running(90), finished(1), finished(60))
    shown = shown_ids(harness.poll())
    del harness.api.sessions[session_id(number)]
    rejection = Rejection(
        reason=RejectionReason.WRONG_TYPE, session_id=session_id(number) if has_id else ""
    )
    lists = []

    for after_seconds in (60.0, 60.0, RESYNC_SECONDS, 60.0):
        harness.clock.seconds += after_seconds
        snapshot = harness.poll(rejections=(rejection,), unreadable={session_id(number)})

        assert snapshot.status.up is True
        assert shown_ids(snapshot) == shown
        lists.append(harness.api.calls.count("list"))

    assert lists == [1, 1, 2, 1]


def test_a_running_session_that_cannot_be_read_by_id_fails_the_poll_and_is_named() -> None:
    harness = PollerHarness(running(600), finished(1))
    harness.poll()

    snapshot = harness.poll(unreadable={session_id(600)})

    assert snapshot.status.up is False
    assert snapshot.status.failure_message == (
        f"session {session_id(600)} cannot be read: wrong_type"
    )


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
    assert harness.counts.rejections == ["wrong_type"]


def test_unknown_values_are_counted_each_time_and_logged_once() -> None:
    odd = running(
        60, state=SessionState.UNKNOWN, unknown_values=(UnknownValue(field="state", value="Odd"),)
    )
    harness = PollerHarness(odd)

    with capture_logs() as logs:
        harness.poll()
        harness.poll()

    assert harness.counts.unknown_fields == ["state", "state"]
    assert [entry["session_id"] for entry in logs if "session_id" in entry] == [odd.id]


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
    defect = RuntimeError("a defect")

    def broken() -> str:
        raise defect

    with capture_logs() as logs:
        snapshot = harness.poll(product_version=broken)
        harness.poll()

    assert snapshot.status.failure_reason == "internal"
    assert snapshot.status.failure_message == "RuntimeError"
    assert logs[0] == {
        "event": "poll aborted by unexpected error",
        "server": "hq",
        "exc_info": defect,
        "log_level": "error",
    }
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

    snapshot = harness.poll(version_error=server_error("service_instance"))

    assert snapshot.status.up is False
    assert shown_ids(snapshot) == [session_id(1)]
    assert snapshot.listed


# Which requests a poll makes


def test_a_requested_full_list_finds_a_deletion() -> None:
    harness = PollerHarness(finished(100), finished(1))
    harness.poll()
    del harness.api.sessions[session_id(100)]

    harness.loop.apply(PendingChanges(gap=True, lost=True))

    assert shown_ids(harness.published[-1]) == [session_id(1)]


def test_the_version_is_fetched_again_once_an_hour() -> None:
    harness = PollerHarness(finished(1))
    harness.poll()

    harness.clock.seconds += RESYNC_SECONDS - 61
    harness.poll()
    assert harness.api.calls == ["list"]
    harness.clock.seconds -= 59

    harness.poll()
    assert harness.api.calls == ["service_instance", "list", "list"]


def test_an_unknown_version_is_fetched_at_every_poll() -> None:
    harness = PollerHarness(finished(1))
    harness.poll(version_error=server_error("service_instance"))

    harness.poll()

    assert harness.api.calls == ["service_instance", "list"]


def test_a_version_that_times_out_ends_the_poll() -> None:
    harness = PollerHarness(finished(1))

    snapshot = harness.poll(version_error=RequestTimeoutError("slow", operation="service_instance"))

    assert harness.api.calls == ["service_instance"]
    assert snapshot.status.failure_reason == "timeout"


def test_without_discovery_a_failed_version_ends_what_404s_would_prove() -> None:
    follow = sessions_config([session_id(1)], discover=False)
    harness = PollerHarness(running(1), follow=follow)
    harness.poll()
    del harness.api.sessions[session_id(1)]

    snapshot = harness.poll(version_error=server_error("service_instance"))

    assert shown_ids(snapshot) == [session_id(1)]
    assert snapshot.status.failure_reason == "server_error"


MANY = [running(number) for number in range(1, 101)]


def test_many_running_sessions_are_confirmed_by_one_list() -> None:
    harness = PollerHarness(*MANY)
    harness.poll()
    harness.clock.seconds += 3 * 60

    snapshot = harness.poll()

    assert harness.api.calls == ["list", "list"]
    assert len(snapshot.without_stale(harness.clock.seconds).running) == 100


def test_after_a_list_that_failed_no_cheaper_one_is_requested() -> None:
    harness = PollerHarness(finished(1), *[running(number) for number in range(100, 161)])
    harness.poll()

    harness.poll(list_error=server_error())

    assert harness.api.calls.count("list") == 1
    assert len(harness.api.calls) == 1 + 61


def test_what_a_cheaper_list_does_not_show_is_fetched_by_id() -> None:
    harness = PollerHarness(*MANY)
    harness.poll()
    del harness.api.sessions[session_id(60)]

    snapshot = harness.poll()

    assert harness.api.calls == ["list", "list", f"get {session_id(60)}", "list"]
    assert len(snapshot.running) == 99


class FailingSecondList:
    """The list of an API, whose second request fails."""

    def __init__(self, harness: PollerHarness, error: Vb365Error) -> None:
        self._list_sessions = harness.api.list_sessions
        self._api = harness.api
        self._error = error

    def __call__(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        if "list" in self._api.calls:
            self._api.calls.append("list")
            raise self._error
        yield from self._list_sessions(created_since=created_since, page_size=page_size)


@pytest.mark.parametrize(
    ("error", "fetched"),
    [
        (ServerError("answered 503", operation="list"), 90),
        (RequestTimeoutError("slow", operation="list"), 0),
    ],
)
def test_a_cheaper_list_that_fails_leaves_the_sessions_to_requests_by_id_unless_it_timed_out(
    error: Vb365Error, fetched: int
) -> None:
    harness = PollerHarness(*MANY)
    harness.poll()

    snapshot = harness.poll(list_sessions=FailingSecondList(harness, error))

    assert harness.api.calls[:2] == ["list", "list"]
    assert len(harness.api.calls[2:]) == fetched
    assert snapshot.status.failure_reason == error.reason


def test_after_a_cheaper_list_that_timed_out_no_extras_are_fetched() -> None:
    harness = PollerHarness(*MANY, follow=sessions_config(extras=["statistics"]))
    harness.poll()
    timeout = RequestTimeoutError("too long", operation="list")

    harness.poll(list_sessions=FailingSecondList(harness, timeout))

    assert harness.api.calls == ["list", "list"]


class Pages:
    """A list of one session a page; notes how many pages were read."""

    def __init__(self, *sessions: RestoreSession) -> None:
        self._sessions = sessions
        self.read = 0

    def __call__(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        del created_since, page_size
        for session in self._sessions:
            self.read += 1
            yield Page(sessions=(session,), rejections=())


def test_a_list_is_requested_in_pages_of_a_thousand() -> None:
    harness = PollerHarness()
    requests: list[dict[str, object]] = []

    def list_sessions(**arguments: object) -> Iterator[Page]:
        requests.append(arguments)
        return iter([Page(sessions=(finished(1),), rejections=())])

    harness.poll(list_sessions=list_sessions)

    assert requests == [{"created_since": None, "page_size": 1000}]


def test_a_bounded_list_ends_after_its_pages() -> None:
    ids = [session_id(number) for number in range(1, 101)]
    harness = PollerHarness(follow=sessions_config(ids, discover=False))
    pages = Pages(*(running(number) for number in range(1, 101)))

    harness.poll(list_sessions=pages)

    assert pages.read == 4
    assert len(harness.api.calls) == 1 + 96


def test_a_bounded_list_ends_when_everything_wanted_was_listed() -> None:
    ids = [session_id(number) for number in range(1, 51)]
    harness = PollerHarness(follow=sessions_config(ids, discover=False))
    wanted = Page(sessions=tuple(running(number) for number in range(1, 51)), rejections=())
    read = []

    def list_sessions(**_arguments: object) -> Iterator[Page]:
        for number in range(3):
            read.append(number)
            yield wanted

    harness.poll(list_sessions=list_sessions)

    assert read == [0]
    assert harness.api.calls == ["service_instance"]


def test_extras_are_not_fetched_from_a_server_that_cannot_be_reached() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    harness.poll()

    harness.poll(list_error=ConnectError("refused", operation="list"))

    assert harness.api.calls == ["list"]


def test_extras_are_not_fetched_after_an_unexpected_error() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    harness.poll()

    def list_sessions(**_arguments: object) -> Iterator[Page]:
        raise RuntimeError("a defect")

    with capture_logs():
        harness.poll(list_sessions=list_sessions)

    assert harness.api.calls == []


# Stopping


def test_a_poll_that_is_stopped_while_it_fetches_publishes_nothing() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    published = len(harness.published)

    def get_session(session_id: str) -> RestoreSession:
        harness.stop.set()
        return harness.api.sessions[session_id]

    harness.poll(get_session=get_session)

    assert len(harness.published) == published
    assert harness.counts.polls == [None]


def test_an_unexpected_error_after_a_stop_is_not_logged() -> None:
    harness = PollerHarness()

    def product_version() -> str:
        harness.stop.set()
        raise RuntimeError("a defect")

    harness.api.product_version = product_version  # type: ignore[method-assign] # a defect no response makes
    with capture_logs() as logs:
        harness.poller.poll()

    assert logs == []


def test_sessions_that_changed_in_a_poll_that_is_stopped_while_fetching_extras_are_left_to_the_next_poller() -> (
    None
):
    follow = sessions_config(extras=["statistics"])
    stopped = PollerHarness(running(60), follow=follow)
    stopped.api.on_extra = lambda *_: stopped.stop.set()
    stopped.poll()
    assert stopped.recorded == []

    following = PollerHarness(running(60), follow=follow, replaces=stopped)
    following.poll()

    assert [session.id for session in following.recorded] == [session_id(60)]


# The heartbeat, where each response takes longer than a loop may stand still

LONG_SECONDS = 390.0


class SlowApi:
    """Makes one operation of an API slow, and notes whether the poller is healthy when the next response is due."""

    def __init__(self, harness: PollerHarness) -> None:
        self._harness = harness
        self.healthy: list[bool] = []

    def delay(self) -> None:
        self._harness.clock.seconds += LONG_SECONDS

    def check(self) -> None:
        self.healthy.append(self._harness.poller.heartbeat.healthy())


def test_a_slow_version_is_a_sign_of_life() -> None:
    harness = PollerHarness(finished(1))
    slow = SlowApi(harness)

    def product_version() -> str:
        slow.delay()
        return "8.4"

    def list_sessions(**_arguments: object) -> Iterator[Page]:
        slow.check()
        yield Page(sessions=(finished(1),), rejections=())

    harness.poll(product_version=product_version, list_sessions=list_sessions)

    assert slow.healthy == [True]


def test_each_page_of_a_list_is_a_sign_of_life() -> None:
    harness = PollerHarness(finished(1))
    slow = SlowApi(harness)

    def list_sessions(**_arguments: object) -> Iterator[Page]:
        for number in range(3):
            slow.delay()
            yield Page(sessions=(finished(number),), rejections=())
            slow.check()

    harness.poll(list_sessions=list_sessions)

    assert slow.healthy == [True, True, True]


def test_each_fetched_session_is_a_sign_of_life() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()
    slow = SlowApi(harness)

    def get_session(session_id: str, **_arguments: object) -> RestoreSession:
        slow.delay()
        return harness.api.sessions[session_id]

    harness.poll(get_session=get_session)
    slow.check()
    harness.apply_changes(SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60)))
    slow.check()

    assert slow.healthy == [True, True]


def test_each_extra_is_a_sign_of_life() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    slow = SlowApi(harness)

    harness.api.on_extra = lambda *_: slow.delay()
    harness.poll()
    slow.check()

    assert slow.healthy == [True]


@pytest.mark.parametrize(("interval", "requests"), [(20, 3), (60, 1), (300, 1)])
def test_a_session_without_an_end_that_cannot_be_fetched_fails_polls_for_a_minute_at_most(
    interval: int, requests: int
) -> None:
    harness = PollerHarness(running(600), running(60), finished(700, end_time=None))
    harness.poll()
    harness.poll()
    assert not any(call.startswith(f"get {session_id(700)}") for call in harness.api.calls)
    ended = finished(600, end_time=None)
    harness.poll(sessions={**harness.api.sessions, ended.id: ended})
    harness.api.get_errors[ended.id] = server_error("get")

    ups = []
    for _ in range(6):
        harness.clock.seconds += interval - 60
        ups.append(harness.poll().status.up)

    assert ups == [False] * requests + [True] * (6 - requests)


@pytest.mark.parametrize("unwritten", [{"end_time": None}, {"details": ""}])
def test_a_session_whose_end_is_not_written_completely_is_fetched_again_by_the_next_poll(
    unwritten: dict[str, Any],
) -> None:
    harness = PollerHarness(running(600), running(60))
    harness.poll()
    ended = finished(600, end_time=harness.clock.now().wall)
    harness.poll(sessions={**harness.api.sessions, ended.id: ended._replace(**unwritten)})

    snapshot = harness.poll(sessions={**harness.api.sessions, ended.id: ended})

    assert f"get {ended.id}" in harness.api.calls
    assert [one.sum_seconds for one in snapshot.activity.durations.values()] == [
        ended.duration_seconds
    ]
    assert sum(snapshot.activity.finished.values()) == 1
    harness.poll()
    assert f"get {ended.id}" not in harness.api.calls
