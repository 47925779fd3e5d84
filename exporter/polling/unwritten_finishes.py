"""Sessions that were seen to finish by an incomplete record: VB365 may write the end of a session in several steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exporter.polling.clock import Moment
from exporter.polling.plan import MAX_LATE_SECONDS
from exporter.vb365.records.restore_session import RestoreSession


@dataclass(slots=True)
class _Finish:
    session: RestoreSession
    """Its last record."""
    seen_at: float
    """In monotonic seconds."""
    is_counted: bool


class UnwrittenFinishes:
    """The sessions that were seen to finish by a record without all that VB365 writes at the end, such as the result.

    A session leaves when its record is complete, when it is running again or no longer stored, or when it stays incomplete
    for a minute and for a whole poll. Its finish is counted when it leaves, or earlier if its record has an `endTime`.

    Args:
        count: counts a finish.
    """

    def __init__(self, count: Callable[[RestoreSession], None]) -> None:
        self._count = count
        self._finishes: dict[str, _Finish] = {}

    def ids(self) -> set[str]:
        """Return the ids of the sessions, which every poll requests."""
        return {*self._finishes}

    def add(self, session: RestoreSession, moment: Moment, *, is_counted: bool) -> None:
        """Add a session that was seen to finish, unless it is one of these; `is_counted` is whether the finish counted before."""
        if session.id not in self._finishes:
            self._finishes[session.id] = _Finish(session, moment.monotonic, is_counted)
        self.update(session)

    def update(self, session: RestoreSession) -> None:
        """Process a later record of a session, if it is one of these."""
        finish = self._finishes.get(session.id)
        if finish is None or not session.stopped:
            return
        finish.session = session
        if session.end_time is not None:
            self._count_once(finish)
        if session.is_written:
            del self._finishes[session.id]

    def settle(self, session_id: str) -> None:
        """Remove a session, if it is one of these: its last record counts."""
        finish = self._finishes.pop(session_id, None)
        if finish is not None:
            self._count_once(finish)

    def settle_overdue(self, moment: Moment, *, poll_started_at: float) -> set[str]:
        """Remove the sessions whose record is still incomplete a minute, and a whole poll, later; return their ids.

        Args:
            moment: the end of a poll.
            poll_started_at: when that poll started, in monotonic seconds.
        """
        latest = moment.monotonic - MAX_LATE_SECONDS
        overdue = {
            session_id
            for session_id, finish in self._finishes.items()
            if finish.seen_at <= latest and finish.seen_at < poll_started_at
        }
        for session_id in overdue:
            self.settle(session_id)
        return overdue

    def _count_once(self, finish: _Finish) -> None:
        if not finish.is_counted:
            finish.is_counted = True
            self._count(finish.session)
