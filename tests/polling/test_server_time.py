"""Which times are ahead of the server's own time, and when its clock was set back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from exporter.polling.clock import Moment
from exporter.polling.server_time import ClockJumps, agree, is_ahead
from support.sample_sessions import NOON

TEN_MINUTES = timedelta(minutes=10)
SECOND = timedelta(seconds=1)


def at(seconds: float, *, ahead: float = 0.0) -> Moment:
    return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds + ahead))


@pytest.mark.parametrize(
    ("difference", "expected"), [(TEN_MINUTES, False), (TEN_MINUTES + SECOND, True)]
)
def test_a_time_is_ahead_if_it_is_more_than_ten_minutes_later(
    difference: timedelta, *, expected: bool
) -> None:
    assert is_ahead(NOON + difference, NOON) is expected


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("difference", "expected"), [(TEN_MINUTES, True), (TEN_MINUTES + SECOND, False)]
)
def test_clocks_agree_if_they_differ_by_ten_minutes_at_most(
    difference: timedelta, sign: int, *, expected: bool
) -> None:
    assert agree(NOON, NOON + sign * difference) is expected


def set_back_in_polls(aheads: list[float], *, interval: float = 60.0) -> list[bool]:
    """Begin polls at this interval, by clocks that are so many seconds ahead; return what was noticed."""
    jumps = ClockJumps()
    noticed = []
    for number, ahead in enumerate(aheads):
        jumps.begin_poll(at(number * interval, ahead=ahead))
        noticed.append(jumps.is_set_back)
    return noticed


def test_a_clock_that_was_set_back_is_noticed_once() -> None:
    assert set_back_in_polls([7200, 7200, 0, 0, 0]) == [False, False, True, False, False]


def test_a_clock_that_is_set_back_again_is_noticed_when_ten_minutes_are_over() -> None:
    noticed = set_back_in_polls([7200, 3600, 0, *[0] * 12])

    assert [poll for poll, is_set_back in enumerate(noticed) if is_set_back] == [1, 11]


def test_a_full_list_in_between_needs_no_other_one() -> None:
    jumps = ClockJumps()
    for seconds, ahead in ((0, 7200), (60, 3600), (120, 0)):
        jumps.begin_poll(at(seconds, ahead=ahead))
    jumps.end_full_list(at(120))

    for seconds in range(180, 1200, 60):
        jumps.begin_poll(at(seconds))
        assert not jumps.is_set_back
