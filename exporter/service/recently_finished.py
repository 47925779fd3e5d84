"""Finds the sessions that ended last among blocks of finished sessions, which are sorted by creation time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from weakref import WeakKeyDictionary

from exporter.polling.blocks import Block
from exporter.vb365.records.restore_session import RestoreSession, SessionResult


@dataclass(frozen=True, slots=True)
class _SortedBlock:
    """The sessions of a block, newest end first, and the failed sessions among them."""

    sessions: Sequence[RestoreSession]
    failed: Sequence[RestoreSession]


class RecentlyFinished:
    """Searches blocks by end time.

    Blocks are immutable, so each is sorted once and the result is kept while the block exists. Not thread-safe.
    """

    def __init__(self) -> None:
        self._sorted: WeakKeyDictionary[Block, _SortedBlock] = WeakKeyDictionary()

    def last(self, blocks: Iterable[Block], limit: int) -> list[RestoreSession]:
        """Return the sessions that ended last, newest end first."""
        found = [self._sort(block).sessions for block in blocks]
        return list(islice(merge(*found, key=ended_at, reverse=True), limit))

    def failed_since(self, blocks: Iterable[Block], since: datetime) -> list[RestoreSession]:
        """Return the failed sessions that ended after a moment, newest end first."""
        found = [_ended_since(self._sort(block).failed, since) for block in blocks]
        return list(merge(*(one for one in found if one), key=ended_at, reverse=True))

    def results_since(self, blocks: Iterable[Block], since: datetime) -> Counter[SessionResult]:
        """Count the sessions that ended after a moment by result."""
        counts: Counter[SessionResult] = Counter()
        for block in blocks:
            for session in _ended_since(self._sort(block).sessions, since):
                counts[session.result or SessionResult.UNKNOWN] += 1
        return counts

    def _sort(self, block: Block) -> _SortedBlock:
        found = self._sorted.get(block)
        if found is None:
            sessions = sorted(block.sessions, key=ended_at, reverse=True)
            failed = [one for one in sessions if one.result is SessionResult.FAILED]
            found = self._sorted[block] = _SortedBlock(sessions, failed)
        return found


def ended_at(session: RestoreSession) -> datetime:
    """Return the end time or, if it is unknown, its lower bound: the creation time."""
    return session.end_time or session.creation_time


def _ended_since(sessions: Sequence[RestoreSession], since: datetime) -> Sequence[RestoreSession]:
    """Return the sessions that ended after a moment. The sessions must be in the order of newest end first."""
    first_older = bisect_left(sessions, timedelta(0), key=lambda one: since - ended_at(one))
    return sessions[:first_older]
