"""The finished sessions that ended last, found without looking at all of them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge, nlargest
from itertools import islice
from weakref import WeakKeyDictionary

from exporter.polling.blocks import Block
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["RecentlyFinished", "ended_at"]


class RecentlyFinished:
    """Picks the sessions that ended last out of blocks, which are sorted by when their sessions were opened.

    Blocks do not change, so what was found in one is kept as long as the block lives. Belongs to one thread at a time.

    Args:
        most: how many sessions are picked at the most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: WeakKeyDictionary[Block, list[RestoreSession]] = WeakKeyDictionary()

    def of(self, blocks: Iterable[Block]) -> Iterator[RestoreSession]:
        """The sessions that ended last, the last one first."""
        found = [self._of_block(block) for block in blocks]
        return islice(merge(*found, key=ended_at, reverse=True), self._most)

    def _of_block(self, block: Block) -> list[RestoreSession]:
        found = self._found.get(block)
        if found is None:
            found = self._found[block] = nlargest(self._most, block.sessions, key=ended_at)
        return found


def ended_at(session: RestoreSession) -> datetime:
    """When it ended; a session of which that is not known ended at its creation at the earliest."""
    return session.end_time or session.creation_time
