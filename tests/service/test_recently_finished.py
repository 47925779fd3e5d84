from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import ClassVar

from exporter.polling.blocks import Block
from exporter.service.recently_finished import RecentlyFinished
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import NOON, finished


def ids(sessions: Iterable[RestoreSession]) -> list[int]:
    return [int(session.id.replace("-", ""), 16) for session in sessions]


def test_the_session_that_ended_last_comes_first_whenever_it_was_created() -> None:
    newer, older = finished(2), finished(30)
    long_open = finished(
        99, creation_time=NOON - timedelta(days=3), end_time=NOON - timedelta(seconds=30)
    )

    found = RecentlyFinished().last([Block((newer, older)), Block((long_open,))], 2)

    assert ids(found) == [99, 2]


def test_a_finished_session_without_an_end_time_is_sorted_by_its_creation() -> None:
    endless = finished(5, end_time=None)

    found = RecentlyFinished().last([Block((finished(4), endless, finished(6)))], 9)

    assert ids(found) == [4, 5, 6]


class CountedTuple(tuple[RestoreSession, ...]):
    """Sessions that count, by their number, how often they are iterated over."""

    __slots__ = ()
    times: ClassVar[Counter[int]] = Counter()

    def __iter__(self) -> Iterator[RestoreSession]:
        self.times[len(self)] += 1
        return super().__iter__()


def test_each_block_is_searched_once() -> None:
    recent = RecentlyFinished()
    first = Block(CountedTuple([finished(1), finished(2)]))
    second = Block(CountedTuple([finished(3), finished(4), finished(5)]))

    recent.last([first], 5)
    recent.since([second, first], NOON)

    assert CountedTuple.times == {2: 1, 3: 1}


def test_sessions_are_found_by_when_they_ended() -> None:
    at_the_limit = finished(60, end_time=NOON - timedelta(minutes=60))
    blocks = [
        Block((finished(1), finished(5), at_the_limit)),
        Block((finished(90, end_time=NOON - timedelta(minutes=2)), finished(95))),
    ]

    found = RecentlyFinished().since(blocks, NOON - timedelta(minutes=60))

    assert ids(found) == [1, 90, 5]
