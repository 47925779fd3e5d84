"""How a metric family is declared: its name, type, help, labels, and the function that returns its samples."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum

from exporter.polling.snapshot import Snapshot
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType


class Kind(Enum):
    """The metric type of a family."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


Sample = tuple[tuple[str, ...], float]
"""Label values, in the order of the family's `labels`, and the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family."""

    name: str
    """Counters end in `_total`."""
    kind: Kind = Kind.GAUGE
    help: str
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit that the name ends in, for OpenMetrics' `# UNIT`; empty if the values have none."""
        unit = self.name.removesuffix("_total").rpartition("_")[2]
        return unit if unit in {"seconds", "bytes"} else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFamily(Family):
    """Base class of families with samples for single sessions; `labels` are in addition to `SESSION_LABELS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionValue(SessionFamily):
    """At most one sample for each session."""

    value: Callable[[RestoreSession], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStateSet(SessionFamily):
    """An enum as a state set: 1 for the current value, 0 for the other known values.

    The series of `unknown` exists only while it is the current value.
    """

    current: Callable[[RestoreSession], StrEnum | None]
    known: tuple[StrEnum, ...]
    unknown: StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSamples(SessionFamily):
    """Any number of samples for each session, with arbitrary label values."""

    samples: Callable[[RestoreSession], Iterable[Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFamily(Family):
    """A family with samples for a server or its organizations; `labels` are in addition to `server`."""

    samples: Callable[[Snapshot], Iterable[Sample]]
    merge: Callable[[float, float], float] = operator.add
    """Combines samples whose labels are equal once they are valid label values."""


TYPES: tuple[SessionType, ...] = tuple(
    kind for kind in SessionType if kind is not SessionType.UNKNOWN
)
RESULTS: tuple[SessionResult, ...] = tuple(
    result for result in SessionResult if result is not SessionResult.UNKNOWN
)
