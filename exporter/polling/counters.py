"""Counts of sessions, updated incrementally."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from exporter.config import Extra, SessionsConfig
from exporter.polling.newest_ends import NewestEnds
from exporter.polling.organizations import KnownOrganizations
from exporter.polling.snapshot import (
    DURATION_BUCKETS_SECONDS,
    Activity,
    DurationHistogram,
    EventBytesKey,
    FinishedKey,
    RestoredItemsKey,
    StartedKey,
)
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType

_MIN_AWAITED_SESSIONS = 10_000

_Key = TypeVar("_Key", StartedKey, FinishedKey, RestoredItemsKey, EventBytesKey)


def max_awaited_sessions(settings: SessionsConfig) -> int:
    """Return how many finished sessions are remembered whose duration or extras are still to come."""
    return max(settings.max_sessions, _MIN_AWAITED_SESSIONS)


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
        self._last_ends = NewestEnds(sessions, finished_key)
        self.stopped: defaultdict[FinishedKey, int] = defaultdict(int)

    @property
    def last_end(self) -> Mapping[FinishedKey, datetime]:
        """Newest `endTime`; keys without one are absent."""
        return self._last_ends.ends

    def add(self, session: RestoreSession) -> None:
        """Count a session."""
        self.stopped[finished_key(session)] += 1
        self._last_ends.add(session)

    def remove(self, session: RestoreSession) -> None:
        """Subtract a session that is no longer among the counted ones."""
        key = finished_key(session)
        self.stopped[key] -= 1
        if self.stopped[key] == 0:
            del self.stopped[key]
            self._last_ends.forget(key)
        else:
            self._last_ends.remove(session)


class ActivityCounters:
    """Counts of the sessions that the exporter saw start and finish: the source of the counters.

    Args:
        settings: the extras that are fetched, and `max_sessions`. The durations of at most `max(max_sessions, 10,000)`
            finished sessions are awaited; the oldest are dropped uncounted.

    Attributes:
        organizations: those whose counts are shown, even if they are 0.
        restored: what finished sessions have restored.
    """

    def __init__(self, settings: SessionsConfig) -> None:
        self._max_awaited = max_awaited_sessions(settings)
        self._started: Counter[StartedKey] = Counter()
        self._finished: Counter[FinishedKey] = Counter()
        self._durations: dict[SessionType, DurationHistogram] = {}
        self._awaited_durations: dict[str, None] = {}  # ids in the order of their finishes
        self._extras = settings.extras
        self.organizations = KnownOrganizations(settings)
        self.restored = RestoredTotals(settings)

    def forget_organizations(self, not_seen_since: float) -> None:
        """Forget organizations as `KnownOrganizations.forget` does, except those with counts, which never decrease."""
        counted = {key[0] for key in (*self._started, *self._finished)}
        self.organizations.forget(not_seen_since, keep=counted)

    def make_room(self, keep: Collection[str]) -> None:
        """Forget all organizations but these, with their counts: new sessions matter more."""
        self.organizations.make_room(keep)
        _retain(self._started, keep)
        _retain(self._finished, keep)
        self.restored.retain(keep)

    def count_started(self, session: RestoreSession) -> None:
        """Count a session that was seen to start."""
        self._started[session.organization, session.type] += 1

    def count_finished(self, session: RestoreSession) -> None:
        """Count a session that was seen to finish."""
        self._finished[finished_key(session)] += 1

    def expect(self, session: RestoreSession) -> None:
        """Count the duration and the extras of a session that was seen to finish, as soon as they are known."""
        self.restored.expect(session)
        self._awaited_durations[session.id] = None
        self.count_awaited_duration(session)
        if len(self._awaited_durations) > self._max_awaited:
            del self._awaited_durations[next(iter(self._awaited_durations))]

    def count_awaited_duration(self, session: RestoreSession) -> None:
        """Count the duration of a session that was seen to finish without it, if it is known now."""
        if session.id not in self._awaited_durations:
            return
        seconds = session.duration_seconds
        if seconds is None:
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
            organizations=self.organizations.names(),
            started=MappingProxyType(dict(self._started)),
            finished=MappingProxyType(dict(self._finished)),
            durations=MappingProxyType(dict(self._durations)),
            extras=self._extras,
            restored_items=self.restored.items(),
            event_bytes=self.restored.event_bytes(),
        )


class RestoredTotals:
    """Adds up the final extras of finished sessions; each session counts once.

    Args:
        settings: the extras that are fetched. Those of at most `max(max_sessions, 10,000)` finished sessions are awaited;
            the oldest are dropped uncounted.
    """

    def __init__(self, settings: SessionsConfig) -> None:
        self._wanted = settings.extras
        self._max_expected = len(settings.extras) * max_awaited_sessions(settings)
        # The organization and type under which each extra counts, in the order of the finishes.
        self._expected: dict[tuple[str, Extra], tuple[str, SessionType]] = {}
        self._items: Counter[RestoredItemsKey] = Counter()
        self._event_bytes: Counter[EventBytesKey] = Counter()

    def expect(self, session: RestoreSession) -> None:
        """Count the final extras of a session that was seen to finish, as soon as they are known."""
        for extra in self._wanted:
            self._expected[session.id, extra] = (session.organization, session.type)
            if len(self._expected) > self._max_expected:
                del self._expected[next(iter(self._expected))]

    def expects(self, session_id: str) -> bool:
        """Whether an extra of a session is still to be counted."""
        return any((session_id, extra) in self._expected for extra in self._wanted)

    def add(self, session_id: str, extra: Extra, value: Statistics | EventSummary | None) -> None:
        """Count the final value of an extra, unless it was counted before; None if it stays unknown."""
        key = self._expected.pop((session_id, extra), None)
        if key is None:
            return
        if isinstance(value, Statistics):
            for outcome, items in value.by_outcome().items():
                self._items[(*key, outcome)] += items
        elif value is not None:
            for operation, size in value.size_bytes.items():
                self._event_bytes[(*key, operation)] += size

    def retain(self, organizations: Collection[str]) -> None:
        """Forget the counts of all organizations but these."""
        _retain(self._items, organizations)
        _retain(self._event_bytes, organizations)

    def items(self) -> Mapping[RestoredItemsKey, int]:
        """Return an immutable copy of the numbers of items."""
        return MappingProxyType(dict(self._items))

    def event_bytes(self) -> Mapping[EventBytesKey, int]:
        """Return an immutable copy of the sizes of events."""
        return MappingProxyType(dict(self._event_bytes))


def _retain(counts: Counter[_Key], organizations: Collection[str]) -> None:
    for key in [key for key in counts if key[0] not in organizations]:
        del counts[key]
