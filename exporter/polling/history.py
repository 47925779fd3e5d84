"""What is remembered of sessions after they leave the store, so that none is counted twice if it returns."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Flag, auto
from heapq import heappop, heappush

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


class SessionHistory:
    """Remembers by id which sessions were counted, or left the store while running: at most `max_ids` of them.

    When there are more, the sessions created first are forgotten. Those created no later than a forgotten one then count
    as seen: one may go uncounted, but none is counted twice.

    Args:
        max_ids: how many ids are remembered.
    """

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._seen: dict[str, Seen] = {}
        self._by_creation: list[tuple[datetime, str]] = []  # a heap
        self._forgotten_through: datetime | None = None  # the newest creationTime forgotten

    def seen(self, session: RestoreSession) -> Seen:
        """Return what was seen of a session that is not stored."""
        seen = self._seen.get(session.id)
        if seen is not None:
            return seen
        if self._forgotten_through is not None and session.creation_time <= self._forgotten_through:
            return Seen.RAN
        return Seen.NOTHING

    def is_interrupted(self, session_id: str) -> bool:
        """Whether a session was running when it left the store, and has not been seen to finish."""
        seen = self._seen.get(session_id)
        return seen is not None and Seen.INTERRUPTED in seen and Seen.FINISHED not in seen

    def record(self, session: RestoreSession, seen: Seen, moment: Moment) -> None:
        """Remember what was seen of a session."""
        if session.id not in self._seen:
            heappush(self._by_creation, (session.creation_time, session.id))
        self._seen[session.id] = self._seen.get(session.id, Seen.NOTHING) | seen
        if len(self._seen) > self._max_ids:
            created, forgotten = heappop(self._by_creation)
            del self._seen[forgotten]
            # A creationTime in the distant future must not make all sessions created until then seem counted.
            created = min(created, moment.wall + _MAX_AHEAD)
            self._forgotten_through = max(created, self._forgotten_through or created)
