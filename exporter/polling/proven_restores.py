"""When a restore was last proven, by organization and type, over all sessions that the server lists.

A session that is not stored, because it is past its lookback or was evicted, counts if the last full list shows it or if it
left the store since. A full list that may lack sessions only adds to what is known.

A session whose `endTime` is more than ten minutes ahead of the server's own time does not count until it is less ahead: it
would hide that nothing is restored any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import takewhile
from operator import attrgetter
from typing import TypeAlias

from exporter.polling.newest_ends import NewestEnds
from exporter.polling.server_time import is_ahead
from exporter.polling.snapshot import StartedKey
from exporter.vb365.records.restore_session import RestoreSession, SessionResult

_MAX_VERDICTS = 10_000

_End: TypeAlias = tuple[str, datetime | None, SessionResult | None, str]


class ProvenRestores:
    """The newest `endTime` of sessions that prove a restore, by organization and type.

    Args:
        stored: returns the stored finished sessions.
        have_extras: whether extras of finished sessions are fetched. Until a session's extras are final, it does not count.
    """

    def __init__(
        self, stored: Callable[[], Iterable[RestoreSession]], *, have_extras: bool
    ) -> None:
        self._stored = NewestEnds(stored, _key, counts=self._counts)
        self._have_extras = have_extras
        self._awaiting: dict[str, float] = {}  # since when extras are not final, by session
        self._others: dict[StartedKey, datetime] = {}
        self._listed: dict[StartedKey, datetime] | None = None  # of the full list in progress
        self._others_count = self._listed_count = 0
        self._doubts = False
        self._now: datetime | None = None
        self._next_end: datetime | None = None  # the earliest that was ahead
        # Lists show no extras, so the verdicts that depend on them are kept, even for sessions that leave and return. They
        # hold for one end: a session that ended again may have restored more.
        self._verdicts: dict[_End, bool] = {}

    @property
    def ends(self) -> Mapping[StartedKey, datetime]:
        """The newest `endTime`; organizations and types without a proven restore are absent."""
        if any(map(self._is_ahead, self._stored.ends.values())):  # the server's clock was set back
            self._stored.recount()
        ends = dict(self._stored.ends)
        for key, end in self._others.items():
            if not self._is_ahead(end):
                ends[key] = max(end, ends.get(key, end))
        return ends

    def set_now(self, now: datetime) -> None:
        """Judge by this time which sessions have ended, and count those stored that seemed to end later."""
        self._now = now
        if self._next_end is not None and not is_ahead(self._next_end, now):
            self._next_end = None
            self._stored.recount()

    def _is_ahead(self, end: datetime) -> bool:
        return self._now is not None and is_ahead(end, self._now)

    # Stored sessions

    def add(self, session: RestoreSession) -> None:
        """Add a session that is now stored."""
        self._stored.add(session)

    def remove(self, session: RestoreSession) -> None:
        """Remove a session that is no longer stored."""
        if session.id not in self._awaiting:
            self._keep_verdict(session)
        self._stored.remove(session)

    def await_extras(self, session: RestoreSession, since: float) -> None:
        """If extras are fetched, do not count a session that is about to be stored until `settle`.

        Args:
            session: the session.
            since: now, in monotonic seconds.
        """
        self._verdicts.pop(_end(session), None)
        if self._have_extras:
            self._awaiting.setdefault(session.id, since)

    def awaiting_since(self, oldest: float) -> tuple[str, ...]:
        """Return the sessions that have awaited `settle` since `oldest` or earlier, in monotonic seconds."""
        overdue = takewhile(lambda awaiting: awaiting[1] <= oldest, self._awaiting.items())
        return tuple(session_id for session_id, _ in overdue)

    def settle(self, session_id: str, session: RestoreSession | None) -> None:
        """Stop waiting for a session's extras, and judge it by its record.

        Args:
            session_id: the session.
            session: its record, with the extras that are known; None if it is not stored as finished.
        """
        was_counted = session_id not in self._awaiting
        self._awaiting.pop(session_id, None)
        if session is not None:
            if was_counted:
                self._stored.remove(session)
            self._stored.add(session)

    def _counts(self, session: RestoreSession) -> bool:
        end = session.end_time
        if end is not None and self._is_ahead(end):
            self._next_end = min(end, self._next_end or end)
            return False
        return session.id not in self._awaiting and self._judge(session)

    def _judge(self, session: RestoreSession) -> bool:
        """Judge a session by its extras, those that it had earlier, or else its record."""
        proves = session.proves_restore
        return proves if _has_extras(session) else self._verdicts.get(_end(session), proves)

    # Other sessions

    def begin_full_list(self) -> None:
        """Start collecting the sessions of a full list."""
        self._listed = {}
        self._listed_count = 0

    def add_other(self, session: RestoreSession, *, has_final_extras: bool = True) -> None:
        """Add a finished session that the server lists, but that is not or no longer stored.

        Args:
            session: the session.
            has_final_extras: whether its extras, if any, were received after it had finished.
        """
        key, end = _key(session), session.end_time
        if end is None or self._is_ahead(end):
            return
        if not has_final_extras or session.id in self._awaiting:
            session = session.without_extras()
        self._keep_verdict(session)
        newest = self._others.get(key)
        listed = self._listed
        self._listed_count += 1
        is_newer = newest is None or end > newest
        is_newer_in_list = listed is not None and (key not in listed or end > listed[key])
        if (is_newer or is_newer_in_list) and self._judge(session):
            if is_newer:
                self._others[key] = end
            if listed is not None and is_newer_in_list:
                listed[key] = end

    def end_full_list(self, *, is_complete: bool) -> bool:
        """End a full list, after which sessions that it does not show no longer count.

        Args:
            is_complete: whether it shows everything. If not, it only adds to what is known.

        Returns:
            Whether it lacks more than half of the sessions; then it is not believed unless the next one agrees.
        """
        listed, self._listed = self._listed, None
        if listed is None or not is_complete:
            return False
        self._doubts = 2 * self._listed_count < self._others_count and not self._doubts
        if not self._doubts:
            self._others = listed
            self._others_count = self._listed_count
        return self._doubts

    def _keep_verdict(self, session: RestoreSession) -> None:
        """Keep the verdict of a session's extras, if it has any, and if it differs from the verdict of `details`."""
        if not _has_extras(session):
            return
        proves = session.proves_restore
        self._verdicts.pop(_end(session), None)
        if proves != session.without_extras().proves_restore:
            self._verdicts[_end(session)] = proves
            if len(self._verdicts) > _MAX_VERDICTS:
                del self._verdicts[next(iter(self._verdicts))]


_key: Callable[[RestoreSession], StartedKey] = attrgetter("organization", "type")


def _end(session: RestoreSession) -> _End:
    return (session.id, session.end_time, session.result, session.details)


def _has_extras(session: RestoreSession) -> bool:
    return session.statistics is not None or session.events is not None
