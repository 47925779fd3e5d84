"""The families of a server and its organizations, rendered from a snapshot as the client library would render them.

Single sessions are not here: there can be very many of them, and `sessions` renders them in blocks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

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
from exporter.metrics.labels import escaped
from exporter.metrics.lines import sample_lines
from exporter.metrics.numbers import go_float
from exporter.polling.snapshot import DURATION_BUCKETS_SECONDS, DurationHistogram, Snapshot
from exporter.vb365.records.restore_session import SessionType

__all__ = ["SNAPSHOT_FAMILIES", "empty_family", "render_snapshot"]

SNAPSHOT_FAMILIES: tuple[Family, ...] = (
    *ORGANIZATION_FAMILIES,
    FINISHED_DURATION,
    *SERVER_FAMILIES,
)
"""In the order in which they are served."""

_MERGED: Mapping[Merge, Callable[[float, float], float]] = {
    Merge.SUM: operator.add,
    Merge.OLDEST: min,
    Merge.NEWEST: max,
}
_NO_DURATIONS = DurationHistogram(
    counts=(0,) * (len(DURATION_BUCKETS_SECONDS) + 1), sum_seconds=0.0
)
_BOUNDS = (*map(go_float, DURATION_BUCKETS_SECONDS), "+Inf")


def render_snapshot(snapshot: Snapshot) -> list[bytes]:
    """The sample lines of each family, in the order of `SNAPSHOT_FAMILIES`."""
    server = escaped(snapshot.server)
    texts = (
        *(_samples(row, server, snapshot) for row in ORGANIZATION_FAMILIES),
        _finished_durations(server, snapshot),
        *(_samples(row, server, snapshot) for row in SERVER_FAMILIES),
    )
    return [text.encode() for text in texts]


def empty_family(row: Family, labels: Sequence[str]) -> Metric:
    """The client library's object for a row, without samples."""
    match row.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(row.name, row.help, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(row.name, row.help, labels=labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(row.name, row.help, labels=labels)


def _samples(row: SnapshotFamily, server: str, snapshot: Snapshot) -> str:
    merge = _MERGED[row.merge]
    merged: dict[tuple[str, ...], float] = {}
    for values, value in row.samples(snapshot):
        key = (server, *map(escaped, values))
        merged[key] = merge(merged[key], value) if key in merged else value
    return sample_lines(row.name, ("server", *row.labels), merged.items())


def _finished_durations(server: str, snapshot: Snapshot) -> str:
    return "".join(
        sample_lines(
            f"{FINISHED_DURATION.name}{suffix}", (*FINISHED_DURATION.labels, *label), samples
        )
        for kind, histogram in _histograms(snapshot.activity.durations)
        for suffix, label, samples in (
            (
                "_bucket",
                ("le",),
                zip(
                    ((server, kind.value, bound) for bound in _BOUNDS),
                    accumulate(histogram.counts),
                    strict=True,
                ),
            ),
            ("_count", (), [((server, kind.value), sum(histogram.counts))]),
            ("_sum", (), [((server, kind.value), histogram.sum_seconds)]),
        )
    )


def _histograms(
    durations: Mapping[SessionType, DurationHistogram],
) -> Iterator[tuple[SessionType, DurationHistogram]]:
    """All types that are known, and what happened to those that are not."""
    for kind in TYPES:
        yield kind, durations.get(kind, _NO_DURATIONS)
    if SessionType.UNKNOWN in durations:
        yield SessionType.UNKNOWN, durations[SessionType.UNKNOWN]
