"""Finds the sessions that ended last among blocks of finished sessions, which are sorted by creation time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, islice
from weakref import WeakKeyDictionary

from exporter.polling.blocks import Block
from exporter.vb365.records.restore_session import RestoreSession


class RecentlyFinished:
    """Searches blocks by end time.

    Blocks are immutable, so each is sorted once and the result is kept while the block exists. Not thread-safe.
    """

    def __init__(self) -> None:
        self._sorted: WeakKeyDictionary[Block, list[RestoreSession]] = WeakKeyDictionary()

    def last(self, blocks: Iterable[Block], limit: int) -> list[RestoreSession]:
        """Return the sessions that ended last, newest end first."""
        found = map(self._newest_first, blocks)
        return list(islice(merge(*found, key=ended_at, reverse=True), limit))

    def since(self, blocks: Iterable[Block], moment: datetime) -> list[RestoreSession]:
        """Return the sessions that ended after a moment, newest end first."""
        found = (ended_since(self._newest_first(block), moment) for block in blocks)
        return sorted(chain.from_iterable(found), key=ended_at, reverse=True)

    def _newest_first(self, block: Block) -> list[RestoreSession]:
        if block not in self._sorted:
            self._sorted[block] = sorted(block.sessions, key=ended_at, reverse=True)
        return self._sorted[block]


def ended_at(session: RestoreSession) -> datetime:
    """Return the end time or, if it is unknown, its lower bound: the creation time."""
    return session.end_time or session.creation_time


def ended_since(sessions: Sequence[RestoreSession], moment: datetime) -> Sequence[RestoreSession]:
    """Return the sessions that ended after a moment. The sessions must be in the order of newest end first."""
    first_older = bisect_left(sessions, timedelta(0), key=lambda one: moment - ended_at(one))
    return sessions[:first_older]
