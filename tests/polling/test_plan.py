"""Which lists are requested, and which are worth their cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from exporter.polling.clock import Moment
from exporter.polling.plan import (
    DiscoveryWindow,
    ListRequest,
    cheaper_list,
    max_listed_sessions,
)
from support.sample_sessions import NOON


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


@pytest.mark.parametrize(
    ("newest", "is_confirmed", "baseline"),
    [
        (None, False, seconds(50) - TEN_MINUTES),
        (-DAY, False, -DAY),
        (seconds(300), False, seconds(60)),
        (None, True, seconds(50) - TEN_MINUTES),
        (-DAY, True, seconds(50) - TEN_MINUTES),
        (seconds(-300), True, seconds(-300)),
        (seconds(300), True, seconds(60)),
    ],
)
def test_sessions_have_started_since_the_newest_one_or_ten_minutes_before_the_first_list(
    newest: timedelta | None,
    is_confirmed: bool,  # noqa: FBT001 - a table
    baseline: timedelta,
) -> None:
    window = listed_window(*([] if newest is None else [NOON + newest]))
    ended = replace(moment(60), is_confirmed=is_confirmed)

    assert window.baseline(ended, requested_at=50.0) == NOON + baseline


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
    ("created_since", "replaces"),
    [(NOON - TEN_MINUTES, False), (NOON - TEN_MINUTES - seconds(1), True), (None, False)],
)
def test_only_a_list_that_begins_more_than_the_overlap_earlier_replaces_one(
    created_since: datetime | None,
    replaces: bool,  # noqa: FBT001 - a table
) -> None:
    next_list = ListRequest(created_since=created_since)

    assert next_list.replaces(ListRequest(created_since=NOON)) is replaces
    assert not next_list.replaces(FULL)


@pytest.mark.parametrize(
    ("max_sessions", "listed"), [(10, 200_000), (100_000, 200_000), (200_000, 400_000)]
)
def test_twice_as_many_sessions_as_are_kept_are_read_and_at_least_200000(
    max_sessions: int, listed: int
) -> None:
    assert max_listed_sessions(max_sessions) == listed
