"""Counts of sessions, updated incrementally."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from exporter.config import Extra
from exporter.polling.restored_totals import RestoredTotals
from exporter.polling.snapshot import (
    DURATION_BUCKETS_SECONDS,
    Activity,
    DurationHistogram,
    FinishedKey,
    StartedKey,
)
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType

__all__ = ["MAX_ORGANIZATIONS", "ActivityCounters", "FinishedCounts", "finished_key"]

MAX_ORGANIZATIONS = 2000
"""How many organizations are known, or `max_sessions` if that is less: each has 32 series, and 36 more with all extras."""


def finished_key(session: RestoreSession) -> FinishedKey:
    """Return the organization, type and result under which a finished session is counted."""
    return (session.organization, session.type, session.result or SessionResult.UNKNOWN)


class FinishedCounts:
    """Counts of the stored finished sessions, and the time the last one ended.

    Args:
        sessions: returns all sessions that are counted.

    Attributes:
        stopped: number of sessions; keys without sessions are absent.
    """

    def __init__(self, sessions: Callable[[], Iterable[RestoreSession]]) -> None:
        self._sessions = sessions
        self._last_end: dict[FinishedKey, datetime] = {}
        self._outdated: set[FinishedKey] = set()  # keys whose last session to end was removed
        self.stopped: Counter[FinishedKey] = Counter()

    @property
    def last_end(self) -> Mapping[FinishedKey, datetime]:
        """Newest `endTime`; keys without one are absent."""
        if self._outdated:
            self._find_last_ends()
        return self._last_end

    def add(self, session: RestoreSession) -> None:
        """Count a session."""
        key = finished_key(session)
        self.stopped[key] += 1
        if key not in self._outdated:
            self._record_end(key, session)

    def remove(self, session: RestoreSession) -> None:
        """Subtract a session that is no longer among the counted ones."""
        key = finished_key(session)
        self.stopped[key] -= 1
        if self.stopped[key] == 0:
            del self.stopped[key]
            self._last_end.pop(key, None)
            self._outdated.discard(key)
        elif session.end_time is not None and self._last_end.get(key) == session.end_time:
            # However many are removed, all others are searched once, when the next snapshot is made.
            self._outdated.add(key)
            del self._last_end[key]

    def _find_last_ends(self) -> None:
        for session in self._sessions():
            key = finished_key(session)
            if key in self._outdated:
                self._record_end(key, session)
        self._outdated.clear()

    def _record_end(self, key: FinishedKey, session: RestoreSession) -> None:
        last = self._last_end.get(key)
        if session.end_time is not None and (last is None or session.end_time > last):
            self._last_end[key] = session.end_time


_MAX_AWAITED_DURATIONS = 10_000
"""Of finished sessions whose duration is not known yet, these are remembered; the durations of older ones stay out."""


class ActivityCounters:
    """Counts of the sessions that the exporter saw start and finish: the source of the counters.

    Args:
        max_organizations: how many organizations are known at once.
        extras: the extras that are fetched.

    Attributes:
        restored: what finished sessions have restored.
    """

    def __init__(self, max_organizations: int, extras: Iterable[Extra] = ()) -> None:
        self._max_organizations = max_organizations
        self._organizations: dict[str, float] = {}  # the monotonic time when each was last seen
        self._full = False  # whether an organization was left out since they were last forgotten
        self._started: Counter[StartedKey] = Counter()
        self._finished: Counter[FinishedKey] = Counter()
        self._durations: dict[SessionType, DurationHistogram] = {}
        self._awaited_durations: dict[str, None] = {}  # ids in the order of their finishes
        self._extras = tuple(extras)
        self.restored = RestoredTotals(self._extras)

    def add_organization(
        self, organization: str, seen_at: float, *, required: bool = False
    ) -> bool:
        """Record that an organization exists.

        Args:
            organization: its name.
            seen_at: now, in monotonic seconds.
            required: whether it is known however many there are.

        Returns:
            Whether it is known; False if there are too many.
        """
        if (
            organization not in self._organizations
            and not required
            and len(self._organizations) >= self._max_organizations
        ):
            self._full = True
            return False
        self._organizations[organization] = seen_at
        return True

    def forget_organizations(self, not_seen_since: float, *, if_full: float) -> None:
        """Forget the organizations that are gone, except those with counts, which never decrease.

        Args:
            not_seen_since: forget those that were last seen before, in monotonic seconds.
            if_full: the same, if others had to be left out.
        """
        oldest = if_full if self._full else not_seen_since
        self._full = False
        counted = {key[0] for key in (*self._started, *self._finished)}
        self._organizations = {
            organization: seen_at
            for organization, seen_at in self._organizations.items()
            if seen_at >= oldest or organization in counted
        }

    def count_started(self, session: RestoreSession) -> None:
        """Count a session that was seen to start."""
        self._started[session.organization, session.type] += 1

    def count_finished(self, session: RestoreSession) -> None:
        """Count a session that was seen to finish, and its duration and extras as soon as they are known."""
        self._finished[finished_key(session)] += 1
        self.restored.expect(session)
        self._awaited_durations[session.id] = None
        self.count_awaited_duration(session)
        if len(self._awaited_durations) > _MAX_AWAITED_DURATIONS:
            del self._awaited_durations[next(iter(self._awaited_durations))]

    def count_awaited_duration(self, session: RestoreSession) -> None:
        """Count the duration of a session whose finish was counted without it, if it is known now."""
        seconds = session.duration_seconds
        if seconds is None or session.id not in self._awaited_durations:
            return
        del self._awaited_durations[session.id]
        known = self._durations.get(session.type, DurationHistogram())
        counts = list(known.counts)
        counts[bisect_left(DURATION_BUCKETS_SECONDS, seconds)] += 1
        self._durations[session.type] = DurationHistogram(
            counts=tuple(counts), sum_seconds=known.sum_seconds + seconds
        )

    def activity(self) -> Activity:
        """Return an immutable copy."""
        return Activity(
            organizations=tuple(self._organizations),
            started=MappingProxyType(dict(self._started)),
            finished=MappingProxyType(dict(self._finished)),
            durations=MappingProxyType(dict(self._durations)),
            extras=self._extras,
            restored_items=self.restored.items(),
            event_bytes=self.restored.event_bytes(),
        )
