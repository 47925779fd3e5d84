"""From snapshots to the client library's metric families, for all that is told of organizations and servers.

Single sessions are not here: there can be very many of them, and `exposition` renders them in blocks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exporter.metrics.catalogue import (
    FINISHED_DURATION,
    ORGANIZATION_FAMILIES,
    SERVER_FAMILIES,
    TYPES,
    Family,
    Kind,
    Merge,
    SnapshotFamily,
)
from exporter.metrics.labels import label_value
from exporter.metrics.numbers import go_float
from exporter.polling.snapshot import DURATION_BUCKETS_SECONDS, DurationHistogram, Snapshot
from exporter.vb365.model import SessionType

__all__ = ["SnapshotCollector", "empty_family"]

_MERGED: Mapping[Merge, Callable[[float, float], float]] = {
    Merge.SUM: operator.add,
    Merge.OLDEST: min,
    Merge.NEWEST: max,
}
_NO_DURATIONS = DurationHistogram(
    counts=(0,) * (len(DURATION_BUCKETS_SECONDS) + 1), sum_seconds=0.0
)


class SnapshotCollector(Collector):
    """Collects the families of organizations and servers from snapshots that never change."""

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        """All families, with the samples of all servers."""
        for row in ORGANIZATION_FAMILIES:
            yield _family(row, self._snapshots)
        yield _finished_durations(self._snapshots)
        for row in SERVER_FAMILIES:
            yield _family(row, self._snapshots)


def empty_family(row: Family, labels: Sequence[str]) -> Metric:
    """The client library's object for a row, without samples."""
    match row.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(row.name, row.help, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(row.name, row.help, labels=labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(row.name, row.help, labels=labels)


def _family(row: SnapshotFamily, snapshots: Iterable[Snapshot]) -> Metric:
    names = ("server", *row.labels)
    merge = _MERGED[row.merge]
    merged: dict[tuple[str, ...], float] = {}
    for snapshot in snapshots:
        for values, value in row.samples(snapshot):
            key = (label_value(snapshot.server), *map(label_value, values))
            merged[key] = merge(merged[key], value) if key in merged else value
    family = empty_family(row, names)
    for key, value in merged.items():
        family.add_sample(row.name, dict(zip(names, key, strict=True)), value)
    return family


def _finished_durations(snapshots: Iterable[Snapshot]) -> Metric:
    row = FINISHED_DURATION
    family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
    bounds = [*map(go_float, DURATION_BUCKETS_SECONDS), "+Inf"]
    for snapshot in snapshots:
        durations = snapshot.activity.durations
        unknown = (SessionType.UNKNOWN,) if SessionType.UNKNOWN in durations else ()
        for kind in (*TYPES, *unknown):
            histogram = durations.get(kind, _NO_DURATIONS)
            family.add_metric(
                (label_value(snapshot.server), kind.value),
                buckets=list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True)),
                sum_value=histogram.sum_seconds,
            )
    return family
