"""The extras of a restore session: how many items it restored, and the operations on them, summed up.

Counts and sizes only. Subjects, paths and user names, which these resources are full of, are skipped while reading.

Sources: `GET /v8/RestoreSessions/{id}/Statistics` and `GET /v6/RestoreSessions/{id}/Events`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from exporter.vb365.records.fields import (
    BadFieldError,
    EnumReader,
    Record,
    RejectionReason,
    UnknownValue,
    read_integer,
)

__all__ = [
    "EventOperation",
    "EventStatus",
    "EventSummary",
    "EventTally",
    "Statistics",
    "parse_statistics",
]


class EventOperation(StrEnum):
    """What an event did (`type`); events of type None concern the session itself."""

    NONE = "None"
    SAVE = "Save"
    EXPORT = "Export"
    SEND = "Send"
    RESTORE = "Restore"
    VIEW = "View"
    UNKNOWN = "Unknown"


class EventStatus(StrEnum):
    """How an event ended (`status`)."""

    RUNNING = "Running"
    SUCCESS = "Success"
    WARNING = "Warning"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A session's item counts (`Statistics`); None where the API sends no count."""

    restored: int | None = None
    """`restoredItemsCount`."""
    failed: int | None = None
    """`failedItemsCount`."""
    skipped: int | None = None
    """`skippedItemsCount`."""

    def by_outcome(self) -> dict[str, int]:
        """Return the known counts by outcome."""
        counts = {"restored": self.restored, "failed": self.failed, "skipped": self.skipped}
        return {outcome: count for outcome, count in counts.items() if count is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """The sums over a session's events."""

    counts: Mapping[tuple[EventOperation, EventStatus], int]
    """Events by operation and status; a missing combination has not happened."""
    size_bytes: Mapping[EventOperation, int]
    """The sum of `itemSizeBytes` by operation."""
    unknown_values: tuple[UnknownValue, ...] = ()
    """Each unknown value once."""
    unreadable: int = 0
    """The number of records that are not events."""


_MAX_UNKNOWN_VALUES = 16

_OPERATIONS = EnumReader(EventOperation, EventOperation.UNKNOWN)
_STATUSES = EnumReader(EventStatus, EventStatus.UNKNOWN)


def parse_statistics(record: object) -> Statistics | None:
    """Read a session's statistics; return None when the record holds none. Never raises.

    Args:
        record: any value a JSON decoder can produce.
    """
    if not isinstance(record, dict):
        return None
    try:
        return Statistics(
            restored=_count(record, "restoredItemsCount"),
            failed=_count(record, "failedItemsCount"),
            skipped=_count(record, "skippedItemsCount"),
        )
    except BadFieldError:
        return None


class EventTally:
    """Sums up a session's events page by page, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[EventOperation, EventStatus]] = Counter()
        self._bytes: Counter[EventOperation] = Counter()
        self._unknown: dict[UnknownValue, None] = {}  # an ordered set
        self._unreadable = 0
        self._previous_ids: set[str] = set()

    def add(self, page: Iterable[object]) -> None:
        """Add one page of records; never raises.

        An event that is logged while the pages are read shifts the others, so that the next page may repeat some:
        events of the previous page are not counted twice.
        """
        ids: set[str] = set()
        for record in page:
            event_id = record.get("id") if isinstance(record, dict) else None
            if isinstance(event_id, str):
                if event_id in self._previous_ids or event_id in ids:
                    continue
                ids.add(event_id)
            self._add(record)
        self._previous_ids = ids

    def summary(self) -> EventSummary:
        """Return the sums so far."""
        return EventSummary(
            counts=MappingProxyType(dict(self._counts)),
            size_bytes=MappingProxyType(dict(self._bytes)),
            unknown_values=tuple(self._unknown),
            unreadable=self._unreadable,
        )

    def _add(self, record: object) -> None:
        if not isinstance(record, dict):
            self._unreadable += 1
            return
        unknown: list[UnknownValue] = []
        try:
            operation = _OPERATIONS.read(record, "type", unknown)
            status = _STATUSES.read(record, "status", unknown)
            size_bytes = _count(record, "itemSizeBytes") or 0
        except BadFieldError:
            self._unreadable += 1
            return
        self._counts[operation, status] += 1
        self._bytes[operation] += size_bytes
        for value in unknown:
            if len(self._unknown) < _MAX_UNKNOWN_VALUES:
                self._unknown[replace(value, field=f"event_{value.field}")] = None


def _count(record: Record, field: str) -> int | None:
    number = read_integer(record, field)
    if number is not None and number < 0:
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return number
