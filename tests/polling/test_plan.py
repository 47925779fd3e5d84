"""Which lists are worth their cost, and what a full list proves."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from exporter.polling.clock import Moment
from exporter.polling.plan import (
    RESYNC_SECONDS,
    DiscoveryWindow,
    ListRequest,
    Resync,
    cheaper_list,
    max_listed_sessions,
)
from exporter.polling.store import SessionStore
from support.ledger_harness import sessions_config
from support.sample_sessions import NOON, finished, running, session_id


def moment(seconds: float = 0.0) -> Moment:
    return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds))


def minutes_ago(*numbers: int) -> list[datetime]:
    return [NOON - timedelta(minutes=number) for number in numbers]


def list_for(creations: list[datetime], created_since: int) -> ListRequest | None:
    """The list for these sessions, where so many sessions were created since any of them."""
    return cheaper_list(creations, 0, lambda _creation: created_since)


# What a list costs


@pytest.mark.parametrize(
    ("request_", "full"),
    [
        (ListRequest(created_since=None), True),
        (ListRequest(created_since=None, max_pages=1), False),
        (ListRequest(created_since=NOON), False),
    ],
)
def test_only_an_unbounded_list_of_everything_is_full(request_: ListRequest, full: bool) -> None:  # noqa: FBT001 - a table
    assert request_.is_full is full


@pytest.mark.parametrize(("unknown", "max_pages"), [(49, None), (50, 2), (74, 2), (75, 3)])
def test_sessions_of_unknown_age_are_listed_when_two_pages_cost_no_more_than_they_do(
    unknown: int, max_pages: int | None
) -> None:
    expected = ListRequest(created_since=None, max_pages=max_pages) if max_pages else None

    assert cheaper_list([], unknown, lambda _creation: 0) == expected


def test_a_list_has_to_save_more_than_a_page() -> None:
    creations = minutes_ago(*range(1, 52))

    assert list_for(creations[:50], 999) is None
    assert list_for(creations, 999) == ListRequest(
        created_since=creations[50] - timedelta(seconds=1), max_pages=2
    )


def test_every_thousand_sessions_cost_another_page() -> None:
    creations = minutes_ago(*range(1, 77))

    assert list_for(creations[:75], 1000) is None
    assert list_for(creations, 1000) == ListRequest(
        created_since=creations[75] - timedelta(seconds=1), max_pages=3
    )


def test_of_lists_that_save_the_same_the_shortest_is_requested() -> None:
    recent = minutes_ago(*range(1, 101))
    older = minutes_ago(*range(2001, 2026))

    request = cheaper_list(
        [*older, *recent], 0, lambda creation: 1000 if creation in older else 500
    )

    assert request == ListRequest(created_since=recent[-1] - timedelta(seconds=1), max_pages=4)


def test_the_list_goes_back_as_far_as_it_saves_more() -> None:
    recent = minutes_ago(*range(1, 101))
    older = minutes_ago(*range(2001, 2027))

    request = cheaper_list(
        [*older, *recent], 0, lambda creation: 1000 if creation in older else 500
    )

    assert request == ListRequest(created_since=older[-1] - timedelta(seconds=1), max_pages=5)


# Since when new sessions are listed

FULL = ListRequest(created_since=None)
TEN_MINUTES = timedelta(minutes=10)
DAY = timedelta(days=1)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def listed_window(*creations: datetime) -> DiscoveryWindow:
    """A window after a full list at noon that showed sessions created then."""
    window = DiscoveryWindow()
    for creation in creations:
        window.observe(creation, moment())
    window.end_list(FULL, requested_at=0.0, moment=moment())
    return window


def test_there_is_no_such_time_before_a_list_that_shows_sessions() -> None:
    assert DiscoveryWindow().created_since(moment()) is None
    assert listed_window().created_since(moment(60)) is None


def test_new_sessions_are_listed_since_the_newest_one_minus_ten_minutes() -> None:
    window = listed_window(NOON - DAY, NOON - 2 * DAY)

    assert window.created_since(moment(60)) == NOON - DAY - TEN_MINUTES


def test_new_sessions_are_never_listed_since_later_than_the_last_list() -> None:
    window = listed_window(NOON + seconds(300))

    assert window.created_since(moment(60)) == NOON - TEN_MINUTES
    assert window.created_since(moment(6000)) == NOON - TEN_MINUTES


@pytest.mark.parametrize("ahead", [seconds(601), 5 * timedelta(hours=1), 30 * DAY])
def test_a_session_from_the_future_does_not_advance_the_window(ahead: timedelta) -> None:
    window = listed_window(NOON - DAY, NOON + ahead)

    assert window.newest == NOON - DAY
    assert window.created_since(moment(60)) == NOON - DAY - TEN_MINUTES


def test_a_session_as_far_ahead_as_clocks_differ_is_believed() -> None:
    assert listed_window(NOON + TEN_MINUTES).newest == NOON + TEN_MINUTES


def test_a_list_that_breaks_off_does_not_advance_the_window() -> None:
    window = listed_window(NOON - DAY)

    window.observe(NOON + seconds(3000), moment(3600))

    assert window.created_since(moment(3660)) == NOON - DAY - TEN_MINUTES


def set_back(days: int, at_seconds: float) -> Moment:
    """A moment of a server whose clock was set back."""
    return Moment(monotonic=at_seconds, wall=NOON - days * DAY + seconds(at_seconds))


def test_after_the_servers_clock_is_set_back_sessions_created_since_are_listed() -> None:
    window = listed_window(NOON)

    assert window.created_since(set_back(30, 60)) == NOON - 30 * DAY - TEN_MINUTES


def test_a_list_that_began_before_its_response_showed_a_clock_set_back_does_not_count() -> None:
    window = listed_window(NOON)
    since = window.created_since(moment(60))

    window.end_list(ListRequest(created_since=since), requested_at=60.0, moment=set_back(30, 61))

    assert window.created_since(set_back(30, 120)) == NOON - 30 * DAY - TEN_MINUTES


@pytest.mark.parametrize(
    ("max_sessions", "listed"), [(10, 200_000), (100_000, 200_000), (200_000, 400_000)]
)
def test_twice_as_many_sessions_as_are_kept_are_read_and_at_least_200000(
    max_sessions: int, listed: int
) -> None:
    assert max_listed_sessions(max_sessions) == listed


# What a full list proves


class ResyncHarness:
    """A store with these sessions, beside the full list."""

    def __init__(self, *numbers: int, configured: tuple[int, ...] = ()) -> None:
        ids = tuple(session_id(number) for number in configured)
        self.store = SessionStore(sessions_config(ids))
        self.resync = Resync(self.store, frozenset(ids))
        for number in numbers:
            self.store.put(finished(number), moment())

    def list_all(self, *numbers: int, incomplete: bool = False) -> set[str]:
        self.resync.begin_list(full=True)
        self.resync.is_incomplete = incomplete
        for number in numbers:
            self.resync.add_listed(session_id(number))
        return self.resync.end_list(moment())


def ids(*numbers: int) -> set[str]:
    return {session_id(number) for number in numbers}


def test_a_resync_is_due_at_first_and_an_hour_after_each_success() -> None:
    resync = ResyncHarness().resync
    assert resync.is_due(moment())

    resync.succeed(moment(100.0))

    assert not resync.is_due(moment(100.0 + RESYNC_SECONDS - 0.1))
    assert resync.is_due(moment(100.0 + RESYNC_SECONDS))


def test_a_requested_resync_is_due_until_one_succeeds() -> None:
    resync = ResyncHarness().resync
    resync.succeed(moment())

    resync.request()

    assert resync.is_due(moment())
    resync.succeed(moment())
    assert not resync.is_due(moment())


def test_a_full_list_makes_the_next_one_due_in_an_hour() -> None:
    harness = ResyncHarness(1)

    harness.list_all(1)

    assert not harness.resync.is_due(moment(RESYNC_SECONDS - 1))
    assert harness.resync.is_due(moment(RESYNC_SECONDS))


def test_up_to_a_hundred_missing_sessions_are_verified_by_id() -> None:
    harness = ResyncHarness(*range(1, 102))

    assert harness.list_all(101) == set()
    assert harness.resync.to_fetch == ids(*range(1, 101))


def test_more_missing_sessions_are_deleted_without_verification() -> None:
    harness = ResyncHarness(*range(1, 103))

    assert harness.list_all(102) == ids(*range(1, 102))
    assert harness.resync.to_fetch == set()


def test_configured_ids_are_verified_however_many_are_missing() -> None:
    harness = ResyncHarness(*range(1, 103), configured=(7,))

    assert harness.list_all() == ids(*range(1, 103)) - ids(7)
    assert harness.resync.to_fetch == ids(7)


def test_configured_ids_that_are_listed_need_no_verification() -> None:
    harness = ResyncHarness(*range(1, 103), configured=(7,))

    assert harness.list_all(7) == ids(*range(1, 103)) - ids(7)
    assert harness.resync.to_fetch == set()


def test_a_full_list_leaves_other_ids_to_fetch_as_they_are() -> None:
    harness = ResyncHarness(1, 2)
    harness.resync.to_fetch.add(session_id(9))

    harness.list_all(1)

    assert harness.resync.to_fetch == ids(2, 9)


def test_after_a_full_list_sessions_that_are_not_kept_are_counted_one_by_one_again() -> None:
    harness = ResyncHarness()
    harness.list_all(1, 2)

    harness.resync.add_listed(session_id(3))
    harness.resync.count_not_kept(session_id(4), observed_id=session_id(3))

    assert harness.resync.not_kept == 3


def test_a_list_with_unreadable_records_proves_no_deletion() -> None:
    harness = ResyncHarness(*range(1, 103), configured=(7,))

    assert harness.list_all(incomplete=True) == set()
    assert harness.resync.to_fetch == ids(7)


def test_a_few_sessions_missing_beside_unreadable_records_are_verified_by_id() -> None:
    harness = ResyncHarness(1, 2)

    assert harness.list_all(1, incomplete=True) == set()
    assert harness.resync.to_fetch == ids(2)


def test_the_next_list_is_complete_again() -> None:
    harness = ResyncHarness()
    harness.list_all(incomplete=True)

    harness.resync.begin_list(full=False)

    assert not harness.resync.is_incomplete


def test_listed_sessions_that_are_not_stored_are_not_kept() -> None:
    harness = ResyncHarness(1)
    harness.store.put(running(2), moment())
    harness.store.expired_ids.add(session_id(3))

    harness.list_all(1, 2, 3, 4, 5)

    assert harness.resync.not_kept == 2


def test_between_full_lists_sessions_that_are_not_kept_are_counted_one_by_one() -> None:
    resync = ResyncHarness().resync

    def evict(number: int) -> None:
        resync.count_not_kept(session_id(number), observed_id=session_id(9))

    evict(1)
    evict(2)
    resync.begin_list(full=True)
    evict(3)
    resync.abort_list()
    evict(4)

    assert resync.not_kept == 3


def test_between_full_lists_a_session_that_does_not_fit_itself_is_not_counted_again() -> None:
    harness = ResyncHarness()
    harness.list_all(1)

    for _ in range(3):
        harness.resync.count_not_kept(session_id(1), observed_id=session_id(1))

    assert harness.resync.not_kept == 1


def test_a_session_that_is_evicted_while_the_list_is_read_is_counted_once() -> None:
    harness = ResyncHarness(2)
    harness.resync.begin_list(full=True)

    for number in (1, 2):
        harness.resync.add_listed(session_id(number))
    harness.resync.count_not_kept(session_id(1), observed_id=session_id(2))
    harness.resync.end_list(moment())

    assert harness.resync.not_kept == 1


def test_a_list_that_is_not_full_ends_the_comparison_of_one_that_broke_off() -> None:
    resync = ResyncHarness().resync
    resync.begin_list(full=True)

    resync.begin_list(full=False)
    resync.count_not_kept(session_id(1), observed_id=session_id(2))

    assert resync.not_kept == 1


def test_an_expired_session_is_remembered_while_it_is_listed() -> None:
    harness = ResyncHarness()
    harness.store.expired_ids |= ids(1, 2)

    harness.list_all(1)

    assert harness.store.expired_ids == ids(1)


def test_a_list_with_unreadable_records_forgets_no_expired_session() -> None:
    harness = ResyncHarness()
    harness.store.expired_ids |= ids(1, 2)

    harness.list_all(incomplete=True)

    assert harness.store.expired_ids == ids(1, 2)
