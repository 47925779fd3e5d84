"""The extras of a restore session: its item counts, and the counts and sizes of its events.

The resources also contain subjects, paths and user names. None of these is kept.

Sources: `GET /v8/RestoreSessions/{id}/Statistics` and `GET /v6/RestoreSessions/{id}/Events`.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial

from exporter.vb365.records.fields import (
    BadFieldError,
    EnumReader,
    Record,
    UnknownValue,
    read_integer,
    read_time,
)


class EventOperation(StrEnum):
    """What was done (`type` of an event); events of type None concern the session itself."""

    NONE = "None"
    SAVE = "Save"
    EXPORT = "Export"
    SEND = "Send"
    RESTORE = "Restore"
    VIEW = "View"
    UNKNOWN = "Unknown"


class EventStatus(StrEnum):
    """The `status` of an event: Running, or its outcome."""

    RUNNING = "Running"
    SUCCESS = "Success"
    WARNING = "Warning"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A session's item counts (`Statistics`); None for a count that the API does not send."""

    restored: int | None = None
    """`restoredItemsCount`."""
    failed: int | None = None
    """`failedItemsCount`."""
    skipped: int | None = None
    """`skippedItemsCount`."""
    total: int | None = None
    """`totalItemsCount`."""

    @property
    def processed(self) -> int:
        """The number of items with an outcome."""
        return sum(self.by_outcome().values())

    @property
    def is_partial(self) -> bool:
        """Whether items have no outcome yet."""
        return self.total is not None and self.processed < self.total

    def by_outcome(self) -> dict[str, int]:
        """Return the known counts by outcome."""
        counts = {"restored": self.restored, "failed": self.failed, "skipped": self.skipped}
        return {outcome: count for outcome, count in counts.items() if count is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """Totals of a session's events."""

    counts: Mapping[tuple[EventOperation, EventStatus], int]
    """The number of events by operation and status; a missing combination means none."""
    size_bytes: Mapping[EventOperation, int]
    """The total of `itemSizeBytes` by operation."""
    last_event_at: datetime | None = None
    """The newest `startTime` or `endTime` of any event; None if none has a time."""
    active_since: datetime | None = None
    """The oldest time of an item event, whose `type` is not None: usually a `startTime`; None without item events."""
    active_until: datetime | None = None
    """The newest time of an item event: its `endTime`, or its `startTime` while it is in progress."""
    unknown_values: tuple[UnknownValue, ...] = ()
    """The first 16 distinct unknown values."""
    unreadable: int = 0
    """The number of records that are not valid events."""

    @property
    def processed(self) -> int:
        """The number of events of items, views excluded, whatever their outcome."""
        return sum(
            count for (operation, _), count in self.counts.items() if operation not in _VIEWS
        )

    @property
    def is_partial(self) -> bool:
        """Whether an event is in progress."""
        return any(status is EventStatus.RUNNING for _, status in self.counts)

    @property
    def restored(self) -> int:
        """The number of items that were restored, exported, saved or sent, with or without a warning."""
        return sum(
            count
            for (operation, status), count in self.counts.items()
            if operation in _RESTORING and status in _SUCCEEDED
        )

    @property
    def active_seconds(self) -> float | None:
        """Seconds from the start of the first item event to the end of the last; None without item events."""
        if self.active_since is None or self.active_until is None:
            return None
        return (self.active_until - self.active_since).total_seconds()


_RESTORING = {
    EventOperation.SAVE,
    EventOperation.EXPORT,
    EventOperation.SEND,
    EventOperation.RESTORE,
}
_VIEWS = {EventOperation.NONE, EventOperation.VIEW}
_SUCCEEDED = {EventStatus.SUCCESS, EventStatus.WARNING}
_MAX_UNKNOWN_VALUES = 16
_HASH_GROUPS = 256
"""Hashes of a million events are compared in groups, so that the sets of a comparison stay small."""

_OPERATIONS = EnumReader(EventOperation, EventOperation.UNKNOWN)
_STATUSES = EnumReader(EventStatus, EventStatus.UNKNOWN)


def parse_statistics(record: object) -> Statistics | None:
    """Parse a session's statistics, any JSON value; return None if they are unreadable, or have no count."""
    if not isinstance(record, dict):
        return None
    try:
        statistics = Statistics(
            restored=read_integer(record, "restoredItemsCount", minimum=0),
            failed=read_integer(record, "failedItemsCount", minimum=0),
            skipped=read_integer(record, "skippedItemsCount", minimum=0),
            total=read_integer(record, "totalItemsCount", minimum=0),
        )
    except BadFieldError:
        return None
    return statistics if statistics.by_outcome() else None


class EventTally:
    """Adds up a session's events page by page; of each event, only 8 bytes are kept."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[EventOperation, EventStatus]] = Counter()
        self._bytes: Counter[EventOperation] = Counter()
        self._last_event_at: datetime | None = None
        self._active_since: datetime | None = None
        self._active_until: datetime | None = None
        self._unknown: dict[UnknownValue, None] = {}  # an ordered set
        self._unreadable = 0
        self._hashes: defaultdict[int, array[int]] = defaultdict(partial(array, "q"))

    def add(self, page: Collection[object]) -> None:
        """Add one page of records; never raises."""
        ids: set[str] = set()
        for record in page:
            if not isinstance(record, dict):
                self._unreadable += 1
                continue
            event_id = record.get("id")
            if isinstance(event_id, str):
                if event_id in ids:
                    continue
                ids.add(event_id)
                key = hash(event_id)
                self._hashes[key % _HASH_GROUPS].append(key)
            try:
                self._add(record)
            except BadFieldError:
                self._unreadable += 1

    def has_repetitions(self) -> bool:
        """Return whether an event was on two pages, so that another one may be on none."""
        return any(len(set(group)) < len(group) for group in self._hashes.values())

    def summary(self) -> EventSummary:
        """Return the totals so far."""
        return EventSummary(
            counts=dict(self._counts),
            size_bytes=dict(self._bytes),
            last_event_at=self._last_event_at,
            active_since=self._active_since,
            active_until=self._active_until,
            unknown_values=tuple(self._unknown),
            unreadable=self._unreadable,
        )

    def _add(self, record: Record) -> None:
        unknown: list[UnknownValue] = []
        operation = _OPERATIONS.read(record, "type", unknown)
        status = _STATUSES.read(record, "status", unknown)
        size_bytes = read_integer(record, "itemSizeBytes", minimum=0) or 0
        started, ended = read_time(record, "startTime"), read_time(record, "endTime")
        self._counts[operation, status] += 1
        self._bytes[operation] += size_bytes
        self._add_times(operation, started, ended)
        for value in unknown:
            if len(self._unknown) < _MAX_UNKNOWN_VALUES:
                self._unknown[replace(value, field=f"event_{value.field}")] = None

    def _add_times(
        self, operation: EventOperation, started: datetime | None, ended: datetime | None
    ) -> None:
        """Extend the periods to include an event. Events come in any order; their start or end may be unknown."""
        times = [moment for moment in (started, ended) if moment is not None]
        if not times:
            return
        oldest, newest = min(times), max(times)
        self._last_event_at = max(newest, self._last_event_at or newest)
        if operation is not EventOperation.NONE:
            self._active_since = min(oldest, self._active_since or oldest)
            self._active_until = max(newest, self._active_until or newest)
