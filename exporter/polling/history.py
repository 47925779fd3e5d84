"""What is remembered of sessions after they leave the store, so that none is counted twice if it returns."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Flag, auto
from typing import NamedTuple

from exporter.polling.clock import Moment
from exporter.vb365.records.restore_session import RestoreSession

# The clock that dates the sessions may be ahead, or in another time zone.
_MAX_AHEAD = timedelta(days=1)


class Seen(Flag):
    """What was seen of a session."""

    NOTHING = 0
    STARTED = auto()
    """Its start was counted."""
    FINISHED = auto()
    """Its finish was counted."""
    RAN = STARTED | FINISHED
    INTERRUPTED = auto()
    """It left the store while it was running; its finish is still to be counted, unless `FINISHED` is set, too."""


class _Entry(NamedTuple):
    seen: Seen
    creation_time: datetime


class SessionHistory:
    """Remembers by id which sessions were counted, or left the store while running: at most `max_ids` of them.

    When there are more, the ids that were remembered first are forgotten. Sessions created no later than a forgotten one
    then count as seen: one may go uncounted, but none is counted twice.

    Args:
        max_ids: how many ids are remembered.
    """

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._entries: dict[str, _Entry] = {}
        self._forgotten_through: datetime | None = None  # the newest creationTime forgotten

    def seen(self, session: RestoreSession) -> Seen:
        """Return what was seen of a session that is not stored."""
        entry = self._entries.get(session.id)
        if entry is not None:
            return entry.seen
        if self._forgotten_through is not None and session.creation_time <= self._forgotten_through:
            return Seen.RAN
        return Seen.NOTHING

    def is_interrupted(self, session_id: str) -> bool:
        """Whether a session was running when it left the store, and has not been seen to finish."""
        entry = self._entries.get(session_id)
        return (
            entry is not None and Seen.INTERRUPTED in entry.seen and Seen.FINISHED not in entry.seen
        )

    def record(self, session: RestoreSession, seen: Seen, moment: Moment) -> None:
        """Remember what was seen of a session."""
        known = self._entries.get(session.id)
        seen |= known.seen if known else Seen.NOTHING
        self._entries[session.id] = _Entry(seen, session.creation_time)
        if len(self._entries) > self._max_ids:
            forgotten = self._entries.pop(next(iter(self._entries)))
            # A creationTime in the distant future must not make all sessions created until then seem counted.
            created = min(forgotten.creation_time, moment.wall + _MAX_AHEAD)
            self._forgotten_through = max(created, self._forgotten_through or created)
