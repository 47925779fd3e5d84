"""What the sessions that were seen to finish have restored: the source of the counters of items and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from exporter.config import Extra, SessionsConfig
from exporter.polling.snapshot import EventBytesKey, RestoredItemsKey
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession, SessionType

MIN_AWAITED_SESSIONS = 10_000


class RestoredTotals:
    """Adds up the final extras of finished sessions; each session counts once.

    Args:
        settings: the extras that are fetched, and `max_sessions`: the extras of so many sessions, but at least of 10,000,
            are awaited; those of older ones are never counted.
    """

    def __init__(self, settings: SessionsConfig) -> None:
        self._wanted = settings.extras
        self._max_expected = len(settings.extras) * max(settings.max_sessions, MIN_AWAITED_SESSIONS)
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

    def items(self) -> Mapping[RestoredItemsKey, int]:
        """Return an immutable copy of the numbers of items."""
        return MappingProxyType(dict(self._items))

    def event_bytes(self) -> Mapping[EventBytesKey, int]:
        """Return an immutable copy of the sizes of events."""
        return MappingProxyType(dict(self._event_bytes))
