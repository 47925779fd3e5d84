"""Lists as a poll reads them: again when sessions moved, and only as far as memory allows."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.polling.plan import RESYNC_SECONDS
from exporter.vb365.errors import RecordsMovedError, ServerError
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession
from support.ledger_harness import DAY_SECONDS, sessions_config, shown_ids
from support.poller_harness import PollerHarness
from support.sample_sessions import NOON, finished, running, session_id

UNREADABLE = Rejection(reason=RejectionReason.NOT_AN_OBJECT)
MOVED = RecordsMovedError("records moved", operation="list")


class Attempts:
    """A list whose attempts differ.

    Args:
        attempts: the sessions of each attempt, and how it ends if not well.
    """

    def __init__(self, *attempts: tuple[Sequence[RestoreSession], Exception | None]) -> None:
        self._attempts = iter(attempts)
        self.page_sizes: list[int] = []

    def __call__(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        del created_since
        self.page_sizes.append(page_size)
        sessions, error = next(self._attempts)
        yield Page(sessions=tuple(sessions), rejections=())
        if error is not None:
            raise error


def test_an_empty_first_list_is_read_again_before_it_decides_which_sessions_are_new() -> None:
    harness = PollerHarness(running(1), finished(2))
    all_sessions = list(harness.api.sessions.values())
    lists = Attempts(([], None), (all_sessions, None), (all_sessions, None))

    first = harness.poll(list_sessions=lists)
    second = harness.poll()

    assert shown_ids(first) == shown_ids(second) == [session_id(1), session_id(2)]
    assert first.sessions_listed == 2
    assert (second.activity.started, second.activity.finished) == ({}, {})


def test_a_first_list_that_is_empty_twice_is_believed_and_later_ones_immediately() -> None:
    harness = PollerHarness()
    lists = Attempts(([], None), ([], None), ([], None))

    polls = [harness.poll(list_sessions=lists) for _ in range(2)]

    assert [poll.sessions_listed for poll in polls] == [0, 0]
    assert lists.page_sizes == [1000, 1000, 1000]


def test_an_unreadable_first_list_is_not_read_again() -> None:
    harness = PollerHarness()

    def unreadable(**_arguments: object) -> Iterator[Page]:
        yield Page(sessions=(), rejections=(UNREADABLE,))

    harness.poll(list_sessions=unreadable)

    assert len(harness.counts.rejections) == 1


def test_a_list_whose_sessions_moved_is_read_again_with_the_largest_pages() -> None:
    harness = PollerHarness()
    lists = Attempts(([finished(1)], MOVED), ([finished(1), running(60)], None))

    with capture_logs() as logs:
        snapshot = harness.poll(list_sessions=lists)

    assert lists.page_sizes == [1000, 10_000]
    assert shown_ids(snapshot) == [session_id(60), session_id(1)]
    assert snapshot.status.up is True
    assert [(entry["event"], entry["server"]) for entry in logs] == [
        ("sessions moved while they were listed, reading the list again", "hq"),
        ("first poll succeeded", "hq"),
    ]


def test_a_session_that_only_an_abandoned_attempt_showed_is_deleted() -> None:
    harness = PollerHarness(finished(1), finished(2))
    harness.poll()
    harness.clock.seconds += RESYNC_SECONDS
    del harness.api.sessions[session_id(2)]
    recent: tuple[Sequence[RestoreSession], None] = ([finished(1)], None)

    snapshot = harness.poll(
        list_sessions=Attempts(recent, ([finished(1), finished(2)], MOVED), ([finished(1)], None))
    )

    assert shown_ids(snapshot) == [session_id(1)]


def test_a_list_whose_sessions_move_at_every_attempt_is_a_bad_response() -> None:
    harness = PollerHarness()
    lists = Attempts(*[([finished(1)], MOVED)] * 3)

    snapshot = harness.poll(list_sessions=lists)

    assert snapshot.status.up is False
    assert snapshot.status.failure_reason == "bad_response"
    assert snapshot.status.failure_message == "list: records moved"
    assert shown_ids(snapshot) == [session_id(1)]


def lists_of(*attempts: Sequence[Sequence[int]]) -> Any:
    """Lists whose attempts consist of pages with these sessions."""
    remaining = iter(attempts)

    def list_sessions(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        del created_since, page_size
        for numbers in next(remaining):
            yield Page(sessions=tuple(map(finished, numbers)), rejections=())

    return list_sessions


def test_sessions_that_moved_between_pages_that_are_not_adjacent_are_listed_again() -> None:
    harness = PollerHarness()
    lists = lists_of([(1, 2), (3, 4), (2, 5)], [(1, 2), (3, 4), (5, 6)])

    snapshot = harness.poll(list_sessions=lists)

    assert snapshot.sessions_listed == 6
    assert snapshot.status.up is True


def test_sessions_that_move_at_every_attempt_are_a_bad_response() -> None:
    harness = PollerHarness()
    lists = lists_of([(1, 2), (3, 4), (2, 5)], [(1, 2), (3, 4), (5, 3)], [(6, 2), (1, 3), (6, 4)])

    snapshot = harness.poll(list_sessions=lists)

    assert snapshot.status.failure_message == "list: records are on two pages of the list"


def test_sessions_that_the_server_always_lists_twice_are_read_again_once() -> None:
    harness = PollerHarness()
    twice = [(1, 2), (3, 4), (2, 5)]

    with capture_logs() as logs:
        snapshots = [harness.poll(list_sessions=lists_of(twice, twice))]
        harness.clock.seconds += RESYNC_SECONDS
        snapshots.append(harness.poll(list_sessions=lists_of(twice, twice)))

    assert [snapshot.sessions_listed for snapshot in snapshots] == [5, 5]
    assert [snapshot.status.up for snapshot in snapshots] == [True, True]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "sessions are on two pages of every list, others may be missing"
    ]


# Discovery of new sessions


def test_sessions_beyond_the_page_at_which_a_list_was_interrupted_are_listed_by_the_next_poll() -> (
    None
):
    harness = PollerHarness(finished(1))
    harness.poll()
    newest, older = (running(7, creation_time=NOON + timedelta(hours=hours)) for hours in (2, 1))
    older = older._replace(id=session_id(8))
    harness.clock.seconds += 3 * 3600
    harness.api.sessions |= {newest.id: newest, older.id: older}
    broken = Attempts(([newest], ServerError("answered 503", operation="list")))
    list_sessions = harness.api.list_sessions

    harness.poll(list_sessions=broken)
    snapshot = harness.poll(list_sessions=list_sessions)

    assert older.id in shown_ids(snapshot)


@pytest.mark.parametrize("ahead", [timedelta(hours=5), timedelta(days=30)])
def test_a_session_from_the_future_hides_no_new_one_and_is_counted_and_logged_once(
    ahead: timedelta,
) -> None:
    wrong = running(9, creation_time=NOON + ahead)
    harness = PollerHarness(finished(1), wrong)
    # The exporter's clock is wrong, too.
    harness.clock.seconds += 60 * DAY_SECONDS
    harness.poll(server_time=NOON)
    new = finished(2, creation_time=NOON, end_time=NOON)
    harness.api.sessions[new.id] = new

    with capture_logs() as logs:
        snapshot = harness.poll(server_time=NOON + timedelta(seconds=60))

    assert shown_ids(snapshot) == [wrong.id, new.id, session_id(1)]
    assert sum(snapshot.activity.started.values()) == 1
    assert set(harness.counts.unknown_fields) == {"creation_time"}
    assert logs == []


@pytest.mark.parametrize(
    ("server_time", "counted"),
    [
        (NOON, 1),
        (NOON - timedelta(minutes=5), 1),
        (NOON + timedelta(minutes=20), 0),  # which of the two clocks is right is not known
        (None, 0),
    ],
)
def test_what_starts_after_the_clock_was_set_back_is_counted_if_this_machines_clock_agrees(
    server_time: datetime | None, counted: int
) -> None:
    harness = PollerHarness(finished(1, creation_time=NOON + timedelta(hours=2)))
    harness.poll(server_time=NOON + timedelta(hours=3))
    now = harness.clock.now().wall + timedelta(minutes=1) if server_time is None else server_time
    new = finished(2, creation_time=now + timedelta(seconds=30), end_time=now)
    harness.api.sessions[new.id] = new
    harness.clock.seconds += 60.0

    snapshot = harness.poll(server_time=server_time and server_time + timedelta(minutes=1))

    assert sum(snapshot.activity.started.values()) == counted


def test_a_session_from_the_future_is_logged_with_both_times() -> None:
    harness = PollerHarness(running(9, creation_time=NOON + timedelta(hours=5)))

    with capture_logs() as logs:
        harness.poll(server_time=NOON)

    assert logs[0] == {
        "event": "session created in the future by the server's own time, "
        "new sessions are found regardless",
        "server": "hq",
        "session_id": session_id(9),
        "creation_time": "2026-03-01T17:00:00+00:00",
        "server_time": "2026-03-01T12:00:00+00:00",
        "log_level": "warning",
    }


def test_lookback_is_measured_by_the_servers_time() -> None:
    harness = PollerHarness(finished(1))
    harness.clock.seconds += 400 * DAY_SECONDS

    shown = harness.poll(server_time=NOON)
    gone = harness.poll(server_time=NOON + timedelta(days=8))

    assert shown_ids(shown) == [session_id(1)]
    assert shown_ids(gone) == []


# The bound


class EndlessList:
    """A list that has sessions on its first page, and unreadable records on countless others."""

    def __init__(self, *sessions: RestoreSession, records_per_page: int = 1) -> None:
        self._sessions = sessions
        self._records = (UNREADABLE,) * records_per_page
        self.pages = 0

    def __call__(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        del created_since, page_size
        self.pages = 1
        yield Page(sessions=self._sessions, rejections=())
        while True:
            self.pages += 1
            yield Page(sessions=(), rejections=self._records)


def test_a_list_is_not_read_further_than_its_bound_and_the_newest_sessions_are_kept() -> None:
    harness = PollerHarness(follow=sessions_config(max_sessions=100))
    endless = EndlessList(*(finished(number) for number in range(300)), records_per_page=20_000)

    with capture_logs() as logs:
        snapshot = harness.poll(list_sessions=endless)

    assert endless.pages == 12
    assert snapshot.status.up is True
    assert snapshot.sessions_known == 100
    assert snapshot.sessions_not_kept == 200
    assert shown_ids(snapshot) == [session_id(number) for number in range(100)]
    assert logs[1] == {
        "event": "list has more sessions than are read, the oldest are left out",
        "server": "hq",
        "sessions_read": 200_300,
        "log_level": "warning",
    }


def test_a_list_that_was_cut_at_its_bound_is_not_requested_again_in_the_next_poll() -> None:
    harness = PollerHarness(follow=sessions_config(max_sessions=100))
    harness.poll(list_sessions=EndlessList(finished(1), records_per_page=20_000))
    requested: list[datetime | None] = []

    def recent_list(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        del page_size
        requested.append(created_since)
        yield Page(sessions=(), rejections=())

    harness.poll(list_sessions=recent_list)

    assert requested == [finished(1).creation_time - timedelta(minutes=10)]


@pytest.mark.parametrize("after_seconds", [0.0, RESYNC_SECONDS], ids=["recent", "full"])
def test_a_list_that_was_cut_at_its_bound_does_not_confirm_that_an_older_session_was_deleted(
    after_seconds: float,
) -> None:
    harness = PollerHarness(finished(1), running(5), follow=sessions_config(max_sessions=100))
    harness.poll()
    whole_list = harness.api.list_sessions
    del harness.api.sessions[session_id(5)]
    harness.clock.seconds += after_seconds

    cut = harness.poll(list_sessions=EndlessList(finished(1), records_per_page=200_000))
    assert shown_ids(cut) == [session_id(5), session_id(1)]
    assert (cut.status.up, cut.status.failure_reason) == (False, "not_found")

    whole = harness.poll(list_sessions=whole_list)
    assert shown_ids(whole) == [session_id(1)]
    assert whole.status.up is True


def test_a_list_that_takes_longer_than_half_an_hour_ends_and_open_sessions_are_fetched() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    endless = EndlessList()

    def slow_list(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        for page in endless(created_since=created_since, page_size=page_size):
            yield page
            harness.clock.seconds += 60

    snapshot = harness.poll(list_sessions=slow_list)

    assert endless.pages == 32
    assert snapshot.status.failure_reason == "bad_response"
    assert snapshot.status.failure_message == "list: the list took longer than 1800 s"
    assert harness.api.calls == [f"get {session_id(60)}"]


def test_sessions_that_do_not_fit_are_counted_once_however_often_they_are_listed() -> None:
    harness = PollerHarness(
        *(finished(number) for number in range(1, 9)), follow=sessions_config(max_sessions=3)
    )

    counts = {harness.poll().sessions_not_kept for _ in range(5)}

    assert counts == {5}


def test_a_list_that_was_not_read_to_its_end_proves_no_deletion() -> None:
    harness = PollerHarness(
        *(finished(number) for number in range(300_000, 300_200)),
        follow=sessions_config(max_sessions=1000, lookback=400 * DAY_SECONDS),
    )
    harness.poll()
    harness.clock.seconds += RESYNC_SECONDS

    snapshot = harness.poll(list_sessions=EndlessFullList())

    assert snapshot.sessions_known == 201


class EndlessFullList:
    """A full list that repeats one session without end; lists of new sessions are empty."""

    def __call__(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        del page_size
        while created_since is None:
            yield Page(sessions=(finished(1),) * 100_000, rejections=())


# How many sessions are listed


def old(number: int) -> RestoreSession:
    """Return a session that ended long before its lookback."""
    created = NOON - timedelta(days=30, minutes=number)
    return finished(number, creation_time=created, end_time=created)


def listed_warnings(harness: PollerHarness) -> tuple[int | None, list[MutableMapping[str, Any]]]:
    """Poll an hour later; return how many sessions are listed, and the warnings."""
    harness.clock.seconds += RESYNC_SECONDS
    with capture_logs() as logs:
        snapshot = harness.poll()
    return snapshot.sessions_listed, [one for one in logs if one["log_level"] == "warning"]


def test_the_last_full_list_says_how_many_sessions_the_account_can_see() -> None:
    harness = PollerHarness(running(60), finished(1), old(2))
    first = harness.poll().sessions_listed
    harness.api.sessions |= {session_id(number): finished(number) for number in (3, 4)}
    between = harness.poll().sessions_listed

    assert (first, between, listed_warnings(harness)) == (3, 3, (5, []))


def test_a_page_that_is_repeated_and_a_rejected_record_are_counted_once() -> None:
    rejection = Rejection(
        reason=RejectionReason.BAD_TIME, field="creationTime", session_id=session_id(9)
    )
    page = Page(sessions=(finished(1), finished(2)), rejections=(rejection,))
    other = Page(sessions=(finished(3),), rejections=())

    def pages(**_: object) -> Iterator[Page]:
        yield from (page, other, page)

    assert PollerHarness().poll(list_sessions=pages).sessions_listed == 4


def test_without_discovery_it_is_not_known_how_many_sessions_are_listed() -> None:
    harness = PollerHarness(
        finished(1), follow=sessions_config(ids=[session_id(1)], discover=False)
    )

    assert harness.poll().sessions_listed is None


def test_an_account_that_suddenly_sees_12_of_35_sessions_is_warned_about_once() -> None:
    harness = PollerHarness(*map(finished, range(1, 36)))
    harness.poll()
    harness.api.sessions = {session_id(number): finished(number) for number in range(1, 13)}

    listed, warnings = listed_warnings(harness)

    assert listed == 12
    assert [(one["event"], one["sessions"], one["missing"]) for one in warnings] == [
        (
            "full list is missing more than half of the known sessions, listing again in the next poll",
            35,
            23,
        )
    ]


def test_sessions_past_their_lookback_that_disappear_are_warned_about_too() -> None:
    harness = PollerHarness(finished(1), *map(old, range(2, 36)))
    harness.poll()
    harness.api.sessions = {
        session_id(number): harness.api.sessions[session_id(number)] for number in range(1, 13)
    }

    listed, warnings = listed_warnings(harness)
    again, later_warnings = listed_warnings(harness)

    assert (listed, again, later_warnings) == (12, 12, [])
    assert warnings == [
        {
            "event": "full list has less than half of the sessions of the previous list",
            "log_level": "warning",
            "server": "hq",
            "before": 35,
            "listed": 12,
        }
    ]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_list_of_new_sessions_that_begins_late_is_noticed(deleted: bool) -> None:  # noqa: FBT001 - a parameter
    harness = PollerHarness(finished(1))
    harness.poll()
    late = timedelta(hours=2)
    listed = harness.api.list_sessions

    def list_sessions(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        since = created_since + late if created_since is not None else None
        return listed(created_since=since, page_size=page_size)

    if deleted:
        del harness.api.sessions[session_id(1)]
    new = running(2, creation_time=NOON + timedelta(minutes=1))
    harness.api.sessions[new.id] = new
    with capture_logs() as logs:
        shown = []
        for _ in range(6):
            harness.clock.seconds += 60
            snapshot = harness.poll(list_sessions=listed if deleted else list_sessions)
            shown.append(new.id in shown_ids(snapshot))

    assert shown == [deleted, *[True] * 5]
    assert sum(snapshot.activity.started.values()) == 1
    assert snapshot.status.up is True
    assert [entry["event"] for entry in logs] == [
        "lists of new sessions lack known ones, requesting them from a day earlier"
    ] * (not deleted)


@pytest.mark.parametrize("configured", [True, False])
def test_sessions_that_lists_never_show_cause_one_full_list(
    configured: bool,  # noqa: FBT001 - a parameter
) -> None:
    old = [finished(number) for number in range(30, 40)]
    hidden = [running(1), running(2), running(3)]
    ids = [session.id for session in hidden]
    follow = sessions_config(ids if configured else (), discover=True)
    harness = PollerHarness(*old, follow=follow)
    listed = harness.api.list_sessions

    def list_sessions(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        for page in listed(created_since=created_since, page_size=page_size):
            shown = tuple(one for one in page.sessions if one.id not in ids)
            yield Page(sessions=shown, rejections=page.rejections)

    harness.poll(list_sessions=list_sessions)
    lists = []
    for state in (running, finished):
        harness.api.sessions |= {session_id(number): state(number) for number in (1, 2, 3)}
        updates = [SessionChange(kind=ChangeKind.UPDATE, session_id=one) for one in ids]
        harness.apply_changes(*updates)
        for _ in range(6):
            snapshot = harness.poll()
            lists.append(harness.api.calls.count("list"))

    assert sorted(lists) == [*[1] * 11, 2]
    assert (snapshot.status.up, snapshot.sessions_known) == (True, 13)


@pytest.mark.parametrize("hidden", [running(2), finished(2)], ids=["running", "finished"])
def test_a_configured_session_that_lists_never_show_makes_no_list_late(
    hidden: RestoreSession,
) -> None:
    harness = PollerHarness(finished(1), hidden, follow=sessions_config([hidden.id]))
    listed = harness.api.list_sessions

    def list_sessions(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        for page in listed(created_since=created_since, page_size=page_size):
            shown = tuple(one for one in page.sessions if one.id != hidden.id)
            yield Page(sessions=shown, rejections=page.rejections)

    with capture_logs() as logs:
        lists = []
        for _ in range(5):
            snapshot = harness.poll(list_sessions=list_sessions)
            lists.append(harness.api.calls.count("list"))

    assert lists == [1] * 5
    assert shown_ids(snapshot) == [hidden.id, session_id(1)]
    assert [entry["event"] for entry in logs] == ["first poll succeeded"]
