from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import ClassVar

from exporter.polling.blocks import Block
from exporter.polling.latest import RecentlyFinished
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import NOON, finished


def block(*sessions: RestoreSession) -> Block:
    return Block(sessions)


def ids(sessions: Sequence[RestoreSession]) -> list[int]:
    return [int(session.id.replace("-", ""), 16) for session in sessions]


def test_the_last_to_end_comes_first_whenever_it_began() -> None:
    long_ago = NOON - timedelta(days=3)
    newer, older = finished(2), finished(30)
    forgotten = finished(99, creation_time=long_ago, end_time=NOON - timedelta(seconds=30))

    found = RecentlyFinished(2).of([block(newer, older), block(forgotten)])

    assert ids(list(found)) == [99, 2]


def test_a_session_without_an_end_ended_at_its_creation_at_the_earliest() -> None:
    endless = finished(5, end_time=None)

    found = RecentlyFinished(9).of([block(finished(4), endless, finished(6))])

    assert ids(list(found)) == [4, 5, 6]


class CountedTuple(tuple[RestoreSession, ...]):
    """Sessions that know how often somebody went through them."""

    __slots__ = ()
    times: ClassVar[Counter[int]] = Counter()

    def __iter__(self) -> Iterator[RestoreSession]:
        self.times[len(self)] += 1
        return super().__iter__()


def test_a_block_is_looked_through_once() -> None:
    ended = RecentlyFinished(5)
    first = Block(CountedTuple([finished(1), finished(2)]))
    second = Block(CountedTuple([finished(3), finished(4), finished(5)]))

    list(ended.of([first]))
    list(ended.of([second, first]))

    assert CountedTuple.times == {2: 1, 3: 1}
