"""How long finished sessions are shown: `lookback` after they ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from exporter.config import SessionsConfig
from exporter.polling.clock import Moment
from exporter.vb365.records.restore_session import RestoreSession

# The latest date that can be represented: a distant endTime plus a long lookback would overflow.
_LATEST = datetime.max.replace(tzinfo=UTC)


class Lookback:
    """Decides when finished sessions expire. One without an `endTime` counts as ended when it was first seen Stopped.

    Args:
        settings: `lookback`, the configured ids, and `max_sessions`, which limits how many expired sessions are remembered.

    Attributes:
        expired: when expired sessions without an `endTime` were first seen Stopped, by id; their records do not show that
            they expired.
    """

    def __init__(self, settings: SessionsConfig) -> None:
        self._duration = timedelta(seconds=settings.lookback)
        self._configured = frozenset(settings.ids)
        self._max_expired = settings.max_sessions
        self._first_stopped: dict[str, datetime] = {}  # of stored sessions without endTime
        self.expired: dict[str, datetime] = {}

    def includes(self, session: RestoreSession, moment: Moment) -> bool:
        """Whether a finished session is configured or within its lookback."""
        return (
            not self.is_old(session, moment)
            or session.id in self._configured
            or not self.is_over(session, moment)
        )

    def is_old(self, session: RestoreSession, moment: Moment) -> bool:
        """Whether a session was created at least `lookback` ago; it cannot have expired before."""
        return moment.wall - session.creation_time >= self._duration

    def is_over(self, session: RestoreSession, moment: Moment) -> bool:
        """Whether a finished session ended at least `lookback` ago."""
        first_stopped = self._first_stopped.get(session.id) or self.expired.get(session.id)
        ended = session.end_time or first_stopped or moment.wall
        ended = max(ended, session.creation_time)  # the two may contradict each other
        return ended + min(self._duration, _LATEST - ended) <= moment.wall

    def begin(self, session: RestoreSession, moment: Moment) -> None:
        """Follow a finished session that is now stored, or whose record was corrected."""
        expired = self.expired.pop(session.id, moment.wall)
        if session.end_time is None:
            self._first_stopped.setdefault(session.id, expired)
        else:
            self._first_stopped.pop(session.id, None)

    def end(self, session: RestoreSession) -> None:
        """Stop following a session that is no longer stored."""
        self._first_stopped.pop(session.id, None)

    def expire(self, session: RestoreSession) -> None:
        """Remember a session that is no longer stored because it expired."""
        first_stopped = self._first_stopped.pop(session.id, None)
        if first_stopped is not None:
            if len(self.expired) >= self._max_expired:
                # If it is listed again, it is shown for another lookback.
                del self.expired[next(iter(self.expired))]
            self.expired[session.id] = first_stopped

    def follow_clock(self, moment: Moment) -> None:
        """Let no session count as first seen Stopped later than now: the server's clock was set back."""
        for first_stopped in (self._first_stopped, self.expired):
            first_stopped |= {key: min(at, moment.wall) for key, at in first_stopped.items()}

    def forget_expired(self, session_ids: Iterable[str]) -> None:
        """Forget expired sessions that the server no longer lists."""
        for session_id in session_ids:
            self.expired.pop(session_id, None)
