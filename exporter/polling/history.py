"""Which sessions are new, and what is remembered of others, so that none is counted twice if it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import Flag, auto
from heapq import heappop, heappush

from exporter.polling.clock import Moment
from exporter.polling.server_time import is_ahead
from exporter.vb365.records.restore_session import RestoreSession

# The clock that dates the sessions may be ahead, or in another time zone.
_MAX_AHEAD = timedelta(days=1)
_DATE_PRECISION = timedelta(seconds=2)  # `Date`, which shows the server's clock, has whole seconds
_BEGINNING = datetime.min.replace(tzinfo=UTC)


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
    """Decides which sessions are new: created after the baseline and not seen before.

    It remembers by id which sessions were counted, or left the store while running: at most `max_ids` of them. When there
    are more, the sessions created first are forgotten. Those created no later than a forgotten one then count as seen: one
    may go uncounted, but none is counted twice.

    Args:
        max_ids: how many ids are remembered.
        stored_since: returns the stored sessions created at a time or later.
        time_of_last_list: returns when sessions were last listed, by the server's present clock.

    Attributes:
        has_baseline: whether there is a baseline; before, no session is new.
    """

    def __init__(
        self,
        max_ids: int,
        *,
        stored_since: Callable[[datetime], Iterable[RestoreSession]],
        time_of_last_list: Callable[[Moment], datetime],
    ) -> None:
        self.has_baseline = False
        self._baseline = self._first_baseline = _BEGINNING
        self._evicted_through = _BEGINNING  # the newest creationTime evicted from the store
        self._stored_since = stored_since
        self._time_of_last_list = time_of_last_list
        self._max_ids = max_ids
        self._seen: dict[str, Seen] = {}
        self._by_creation: list[tuple[datetime, str]] = []  # a heap
        self._forgotten_through = _BEGINNING  # the newest creationTime forgotten

    def set_baseline(self, creation: datetime, moment: Moment) -> None:
        """Treat sessions created after `creation` as new from now on, except those that are stored."""
        self.has_baseline = True
        self._baseline = self._first_baseline = creation
        # The first list may have been answered by several clocks.
        self._remember_stored(creation, moment)

    def take_new(self, session: RestoreSession, moment: Moment) -> bool:
        """Return whether a session that is not stored is new; it is then remembered as counted."""
        self._follow_clock(moment)
        created = session.creation_time
        is_new = (
            self.has_baseline
            and created > self._baseline
            and created > self._evicted_through
            and not (created <= self._first_baseline and is_ahead(created, moment.wall))
            and not self.seen(session)
        )
        # The creationTime of a session from the future would make it new whenever it returns.
        if is_new or created > moment.wall:
            self.record(session, _as_counted(session), moment)
        return is_new

    def mark_evicted(self, session: RestoreSession, moment: Moment) -> None:
        """Treat no session as new that was created no later than one that was evicted from the store."""
        # A session from the future is in the history, and all others come before it.
        if session.creation_time <= moment.wall:
            self._evicted_through = max(session.creation_time, self._evicted_through)

    def seen(self, session: RestoreSession) -> Seen:
        """Return what was seen of a session that is not stored."""
        seen = self._seen.get(session.id)
        if seen is not None:
            return seen
        return Seen.RAN if session.creation_time <= self._forgotten_through else Seen.NOTHING

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
            self._forgotten_through = max(created, self._forgotten_through)

    def _follow_clock(self, moment: Moment) -> None:
        """Move the baseline back to the last list if a clock that was ahead set it, and the server's clock is correct now.

        Sessions that the earlier clock dated do not become new: the stored ones are remembered here, and any other is
        ahead of the present clock. Unless this machine's clock confirms the server's, the baseline stays: by a clock that
        is behind, sessions from before the last list may seem to have been created after it.
        """
        if self._baseline > moment.wall and moment.is_confirmed:
            self._baseline = self._time_of_last_list(moment) - _DATE_PRECISION
            self._remember_stored(self._baseline, moment)

    def _remember_stored(self, creation: datetime, moment: Moment) -> None:
        for session in self._stored_since(creation):
            if session.creation_time > creation:
                self.record(session, _as_counted(session), moment)


def _as_counted(session: RestoreSession) -> Seen:
    return Seen.RAN if session.stopped else Seen.STARTED
