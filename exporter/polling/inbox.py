"""What the change feed has told of a server's sessions and its poll loop has not taken in yet."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.vb365.records.changes import SessionChange

__all__ = ["ChangeQueue", "Told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that was told since somebody looked last."""

    changes: tuple[SessionChange, ...] = ()
    """The last change of each session, in order."""
    gap: bool = False
    """True when the feed does not tell what happened before: only a poll does."""
    lost: bool = False
    """True when that is more than the first poll has seen: even a deletion may have been missed."""

    def __bool__(self) -> bool:
        return self.gap or bool(self.changes)


class ChangeQueue:
    """Written to by the feed's thread, emptied by the poll loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._changes: dict[str, SessionChange] = {}
        self._gap = False
        self._lost = False

    def put(self, changes: Iterable[SessionChange]) -> None:
        """Something happened to sessions."""
        with self._lock:
            for change in changes:
                self._changes.pop(change.session_id, None)
                self._changes[change.session_id] = change
            if self._changes:
                self._something.set()

    def put_gap(self, *, lost: bool) -> None:
        """The feed begins here: it does not tell what happened before; `lost` when it had begun already."""
        with self._lock:
            self._gap = True
            self._lost = self._lost or lost
            self._something.set()

    def wake(self) -> None:
        """End a wait although nothing was told."""
        self._something.set()

    def wait(self, seconds: float) -> Told:
        """All that is told, as soon as something is; nothing, when `seconds` pass or `wake` is called before."""
        self._something.wait(seconds)
        return self.take()

    def take(self) -> Told:
        """All that was told so far."""
        with self._lock:
            told = Told(changes=tuple(self._changes.values()), gap=self._gap, lost=self._lost)
            self._changes = {}
            self._gap = self._lost = False
            self._something.clear()
        return told
