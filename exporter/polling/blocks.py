"""Finished sessions in order of creation, in immutable blocks.

Finished sessions rarely change, and a block never does: anything derived from it (its text, its compressed form) stays
valid as long as the block exists. Adding, removing or correcting a session replaces only the block it belongs to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, takewhile
from operator import attrgetter

from exporter.vb365.records.restore_session import RestoreSession

BLOCK_SESSIONS = 128
"""A block with twice as many sessions is split."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Block:
    """Finished sessions, newest first; compared by identity, so that blocks can be cache keys."""

    sessions: tuple[RestoreSession, ...]


class SessionBlocks:
    """A sorted collection of finished sessions with cheap changes and cheap immutable views.

    Only one thread may use it; any thread may read the blocks it returns.

    Args:
        block_sessions: a block with twice as many sessions is split.
    """

    def __init__(self, block_sessions: int = BLOCK_SESSIONS) -> None:
        self._block_sessions = block_sessions
        self._chunks: list[_Chunk] = []  # oldest first, none empty
        # The block that `_first` cut last, its limit, and the result.
        self._cut: tuple[Block, int, Block] | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[RestoreSession]:
        """Iterate over all sessions, oldest first."""
        return chain.from_iterable(chunk.sessions for chunk in self._chunks)

    def add(self, session: RestoreSession) -> None:
        """Insert a session in order of creation."""
        self._length += 1
        if not self._chunks:
            self._chunks.append(_Chunk([session]))
            return
        key = _key(session)
        if key < self._chunks[0].first_key():  # the usual case while a list is read, newest first
            index, position = 0, 0
        else:
            # A session belongs to the last chunk that starts at or before it.
            index = bisect_right(self._chunks, key, key=_Chunk.first_key) - 1
            position = bisect_right(self._chunks[index].sessions, key, key=_key)
        chunk = self._chunks[index]
        chunk.sessions.insert(position, session)
        chunk.block = None
        if len(chunk.sessions) >= 2 * self._block_sessions:
            half = len(chunk.sessions) // 2
            self._chunks[index : index + 1] = [
                _Chunk(chunk.sessions[:half]),
                _Chunk(chunk.sessions[half:]),
            ]

    def remove(self, session: RestoreSession) -> None:
        """Remove a session.

        Raises:
            KeyError: the session is not in the collection.
        """
        key = _key(session)
        index = bisect_right(self._chunks, key, key=_Chunk.first_key) - 1
        if index >= 0:
            chunk = self._chunks[index]
            position = bisect_left(chunk.sessions, key, key=_key)
            if position < len(chunk.sessions) and chunk.sessions[position].id == session.id:
                del chunk.sessions[position]
                chunk.block = None
                self._length -= 1
                if not chunk.sessions:
                    del self._chunks[index]
                return
        raise KeyError(session.id)

    def oldest(self) -> RestoreSession:
        """Return the session that was created first.

        Raises:
            IndexError: the collection is empty.
        """
        return self._chunks[0].sessions[0]

    def count_since(self, moment: datetime) -> int:
        """Return how many sessions were created at `moment` or later."""
        count = 0
        for chunk in reversed(self._chunks):
            if chunk.sessions[0].creation_time < moment:
                position = bisect_left(
                    chunk.sessions, moment, key=lambda session: session.creation_time
                )
                return count + len(chunk.sessions) - position
            count += len(chunk.sessions)
        return count

    def created_since(self, moment: datetime) -> Iterator[RestoreSession]:
        """Iterate over the sessions created at `moment` or later, newest first."""
        newest_first = (reversed(chunk.sessions) for chunk in reversed(self._chunks))
        return takewhile(
            lambda session: session.creation_time >= moment, chain.from_iterable(newest_first)
        )

    def newest(self, limit: int | None = None) -> tuple[Block, ...]:
        """Return the newest `limit` sessions as blocks, newest first; without a limit, all sessions."""
        blocks: list[Block] = []
        room = len(self) if limit is None else limit
        for chunk in reversed(self._chunks):
            if room <= 0:
                break
            block = chunk.view()
            blocks.append(block if len(block.sessions) <= room else self._first(block, room))
            room -= len(block.sessions)
        return tuple(blocks)

    def _first(self, block: Block, limit: int) -> Block:
        """Return a block of the newest sessions of a block; repeated calls return the same object."""
        if self._cut is None or self._cut[0] is not block or self._cut[1] != limit:
            self._cut = (block, limit, Block(block.sessions[:limit]))
        return self._cut[2]


class _Chunk:
    """The mutable side of a block: its sessions, oldest first, and the block itself while it is valid."""

    __slots__ = ("block", "sessions")

    def __init__(self, sessions: list[RestoreSession]) -> None:
        self.sessions = sessions
        self.block: Block | None = None

    def first_key(self) -> tuple[datetime, str]:
        return _key(self.sessions[0])

    def view(self) -> Block:
        if self.block is None:
            self.block = Block(tuple(reversed(self.sessions)))
        return self.block


_key: Callable[[RestoreSession], tuple[datetime, str]] = attrgetter("creation_time", "id")
