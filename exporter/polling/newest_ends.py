"""The newest `endTime` of stored sessions by key, updated incrementally."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime
from typing import Generic, TypeVar

from exporter.vb365.records.restore_session import RestoreSession

_Key = TypeVar("_Key", bound=Hashable)


class NewestEnds(Generic[_Key]):
    """The newest `endTime` of finished sessions by key.

    Args:
        sessions: returns all sessions.
        key: returns the key of a session.
        counts: whether a session counts; called only for a session that may be the newest.
    """

    def __init__(
        self,
        sessions: Callable[[], Iterable[RestoreSession]],
        key: Callable[[RestoreSession], _Key],
        counts: Callable[[RestoreSession], bool] = lambda _session: True,
    ) -> None:
        self._sessions = sessions
        self._key = key
        self._counts = counts
        self._ends: dict[_Key, datetime] = {}
        self._outdated: set[_Key] = set()  # keys whose newest session was removed

    @property
    def ends(self) -> Mapping[_Key, datetime]:
        """The newest `endTime`; keys without one are absent."""
        if self._outdated:
            self._find_newest()
        return self._ends

    def add(self, session: RestoreSession) -> None:
        """Add a session."""
        key, end = self._key(session), session.end_time
        newest = self._ends.get(key)
        if end is None or (newest is not None and end <= newest):
            return
        if key not in self._outdated and self._counts(session):
            self._ends[key] = end

    def remove(self, session: RestoreSession) -> None:
        """Remove a session that is no longer among `sessions`."""
        key = self._key(session)
        if session.end_time is not None and self._ends.get(key) == session.end_time:
            # However many are removed, all others are searched once, when the ends are next read.
            self._outdated.add(key)
            del self._ends[key]

    def recount(self) -> None:
        """Find all ends again, because other sessions count now."""
        self._outdated = {self._key(session) for session in self._sessions()}
        self._ends.clear()

    def forget(self, key: _Key) -> None:
        """Drop a key that no longer has sessions."""
        self._ends.pop(key, None)
        self._outdated.discard(key)

    def _find_newest(self) -> None:
        outdated, self._outdated = self._outdated, set()
        for session in self._sessions():
            if self._key(session) in outdated:
                self.add(session)
