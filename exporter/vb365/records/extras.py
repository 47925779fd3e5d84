"""What a restore session's own resources tell of it: how many items were restored, and what was done with them.

Counts and sizes only. Subjects, paths and names of users, which the resources are full of, are passed over while reading.

Sources: `GET /v8/RestoreSessions/{id}/Statistics` and `GET /v6/RestoreSessions/{id}/Events`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from exporter.vb365.records.fields import (
    BadFieldError,
    EnumReader,
    Record,
    RejectionReason,
    UnknownValue,
    read_enum,
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
    """What was done (`type` of an event); None is what concerns the session itself."""

    NONE = "None"
    SAVE = "Save"
    EXPORT = "Export"
    SEND = "Send"
    RESTORE = "Restore"
    VIEW = "View"
    UNKNOWN = "Unknown"


class EventStatus(StrEnum):
    """What came of it (`status` of an event)."""

    RUNNING = "Running"
    SUCCESS = "Success"
    WARNING = "Warning"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """How many items a session restored (`Statistics`); None where the API does not say."""

    restored: int | None = None
    """`restoredItemsCount`."""
    failed: int | None = None
    """`failedItemsCount`."""
    skipped: int | None = None
    """`skippedItemsCount`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """What a session's events come to."""

    counts: Mapping[tuple[EventOperation, EventStatus], int]
    """How many there are; combinations that are not there have not happened."""
    size_bytes: Mapping[EventOperation, int]
    """The sum of `itemSizeBytes`."""
    unknown_values: tuple[UnknownValue, ...] = ()
    """Each kind of value once."""
    unreadable: int = 0
    """How many records were no events."""


_MOST_UNKNOWN_VALUES = 16

_OPERATIONS = EnumReader.of(EventOperation, EventOperation.UNKNOWN)
_STATUSES = EnumReader.of(EventStatus, EventStatus.UNKNOWN)


def parse_statistics(record: object) -> Statistics | None:
    """Read the counts of a session's statistics; None when they are none. Never raises.

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
    """Sums up a session's events page by page, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[EventOperation, EventStatus]] = Counter()
        self._bytes: Counter[EventOperation] = Counter()
        self._unknown: dict[UnknownValue, None] = {}  # an ordered set
        self._unreadable = 0
        self._ids_before: frozenset[object] = frozenset()

    def add(self, page: Iterable[object]) -> None:
        """Take in one page of records; never raises.

        An event that came while the pages were read moves the others, so that one of them may come again.
        """
        ids = set()
        for record in page:
            event_id = record.get("id") if isinstance(record, dict) else None
            if isinstance(event_id, str):
                if event_id in self._ids_before or event_id in ids:
                    continue
                ids.add(event_id)
            self._add(record)
        self._ids_before = frozenset(ids)

    def summary(self) -> EventSummary:
        """All that was taken in."""
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
            operation = read_enum(record, "type", _OPERATIONS, unknown)
            status = read_enum(record, "status", _STATUSES, unknown)
            size_bytes = _count(record, "itemSizeBytes") or 0
        except BadFieldError:
            self._unreadable += 1
            return
        self._counts[operation, status] += 1
        self._bytes[operation] += size_bytes
        for one in unknown:
            if len(self._unknown) < _MOST_UNKNOWN_VALUES:
                self._unknown[UnknownValue(field=f"event_{one.field}", value=one.value)] = None


def _count(record: Record, field: str) -> int | None:
    number = read_integer(record, field)
    if number is not None and number < 0:
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return number
