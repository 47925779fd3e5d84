"""What a row of the catalogue is: a metric family, and where its samples come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum

from exporter.polling.snapshot import Snapshot
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType

__all__ = [
    "NO_SAMPLES",
    "RESULTS",
    "TYPES",
    "Family",
    "Kind",
    "LabelValues",
    "Merge",
    "Sample",
    "SessionFamily",
    "SessionSamples",
    "SessionStateSet",
    "SessionValue",
    "SnapshotFamily",
]


class Kind(Enum):
    """The type of a family."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """What becomes of values whose labels are equal once they are fit to be labels."""

    SUM = "sum"
    OLDEST = "oldest"
    NEWEST = "newest"


LabelValues = tuple[str, ...]
Sample = tuple[LabelValues, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family."""

    name: str
    """With `_total` where it is a counter."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFamily(Family):
    """A family with samples for single sessions, of one of the kinds below; `labels` are those beyond `SESSION_LABELS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionValue(SessionFamily):
    """A number that a session has, or has not."""

    value: Callable[[RestoreSession], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStateSet(SessionFamily):
    """One value out of few: 1 at its own label, 0 at those of the others; `unknown` is shown only when it is the one."""

    chosen: Callable[[RestoreSession], StrEnum | None]
    known: tuple[StrEnum, ...]
    unknown: StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSamples(SessionFamily):
    """Any number of samples, whose labels have any values."""

    samples: Callable[[RestoreSession], Iterable[Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFamily(Family):
    """A family with samples for a server or its organizations; `labels` are those beyond `server`."""

    samples: Callable[[Snapshot], Iterable[Sample]]
    merge: Merge = Merge.SUM


TYPES: tuple[SessionType, ...] = tuple(
    kind for kind in SessionType if kind is not SessionType.UNKNOWN
)
RESULTS: tuple[SessionResult, ...] = tuple(
    result for result in SessionResult if result is not SessionResult.UNKNOWN
)

NO_SAMPLES: tuple[Sample, ...] = ()
