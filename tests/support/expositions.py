"""Expositions of sample snapshots, and the client library's rendering of the same families for comparison."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.config import Extra
from exporter.metrics.catalogue import SNAPSHOT_FAMILIES
from exporter.metrics.catalogue.family import (
    TYPES,
    Family,
    SessionFamily,
    SessionSamples,
    SessionStateSet,
    SessionValue,
    SnapshotFamily,
)
from exporter.metrics.catalogue.sessions import SESSION_LABELS, session_families
from exporter.metrics.exposition import Publisher
from exporter.metrics.text_format import Format, empty_family
from exporter.polling.snapshot import DURATION_BUCKETS_SECONDS, Snapshot
from exporter.text import label_value
from exporter.vb365.records.restore_session import RestoreSession, SessionType


def publisher(
    *snapshots: Snapshot,
    info_labels: Sequence[str] = (),
    extras: Collection[Extra] = (),
    own: CollectorRegistry | None = None,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> Publisher:
    """Return a publisher that has published these snapshots; its clock stands still by default."""
    made = Publisher(
        own or CollectorRegistry(), info_labels=info_labels, extras=extras, monotonic=monotonic
    )
    for snapshot in snapshots:
        made.publish(snapshot)
    return made


def body(made: Publisher, form: Format = Format.TEXT) -> bytes:
    """Return the body of a scrape, after checking that its plain and compressed forms agree."""
    exposition = made.exposition(form)
    plain = b"".join(exposition.chunks(gzip=False))
    compressed = b"".join(exposition.chunks(gzip=True))
    assert exposition.content_length(gzip=False) == len(plain)
    assert exposition.content_length(gzip=True) == len(compressed)
    assert gzip.decompress(compressed) == plain
    return plain


class LibraryFamilies(Collector):
    """All families as objects of the client library, built directly from the catalogue."""

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        info_labels: Sequence[str] = (),
        extras: Collection[Extra] = (),
    ) -> None:
        self._snapshots = snapshots
        self._session_families = session_families(info_labels, extras)

    def collect(self) -> Iterator[Metric]:
        for session_family in self._session_families:
            yield _session_family(session_family, self._snapshots)
        for family in SNAPSHOT_FAMILIES:
            if isinstance(family, SnapshotFamily):
                yield _snapshot_family(family, self._snapshots)
            else:
                yield _finished_durations(family, self._snapshots)


def _session_family(family: SessionFamily, snapshots: Iterable[Snapshot]) -> Metric:
    names = (*SESSION_LABELS, *family.labels)
    metric = empty_family(family)
    for snapshot in snapshots:
        sessions = [
            *(one.session for one in snapshot.running_with_series),
            *(session for block in snapshot.finished_with_series for session in block.sessions),
        ]
        for session in sessions:
            shared = (snapshot.server, session.id, session.organization, session.type.value)
            for values, value in _session_samples(family, session):
                labels = map(label_value, (*shared, *values))
                metric.add_sample(family.name, dict(zip(names, labels, strict=True)), value)
    return metric


def _session_samples(
    family: SessionFamily, session: RestoreSession
) -> Sequence[tuple[tuple[str, ...], float]]:
    match family:
        case SessionValue():
            value = family.value(session)
            return () if value is None else (((), value),)
        case SessionStateSet():
            current = family.current(session)
            if current is None:
                return ()
            shown = family.known if current in family.known else (*family.known, family.unknown)
            return [((one.value,), float(one is current)) for one in shown]
        case SessionSamples():
            return tuple(family.samples(session))
        case _:
            raise TypeError(type(family).__name__)


def _snapshot_family(family: SnapshotFamily, snapshots: Iterable[Snapshot]) -> Metric:
    names = ("server", *family.labels)
    merged: dict[tuple[str, ...], float] = {}
    for snapshot in snapshots:
        for values, value in family.samples(snapshot):
            key = (label_value(snapshot.server), *map(label_value, values))
            merged[key] = family.merge(merged[key], value) if key in merged else value
    metric = empty_family(family)
    for key, value in merged.items():
        metric.add_sample(family.name, dict(zip(names, key, strict=True)), value)
    return metric


def _finished_durations(family: Family, snapshots: Iterable[Snapshot]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels, unit="seconds")
    bounds = [*(f"{float(bound)}" for bound in DURATION_BUCKETS_SECONDS), "+Inf"]
    for snapshot in snapshots:
        durations = snapshot.activity.durations
        unknown = [kind for kind in (SessionType.UNKNOWN,) if kind in durations]
        for kind in (*TYPES, *unknown):
            known = durations.get(kind)
            counts = known.counts if known else (0,) * len(bounds)
            metric.add_metric(
                (label_value(snapshot.server), kind.value),
                buckets=list(zip(bounds, map(float, accumulate(counts)), strict=True)),
                sum_value=known.sum_seconds if known else 0.0,
            )
    return metric


def library_body(
    snapshots: Iterable[Snapshot],
    form: Format,
    info_labels: Sequence[str] = (),
    extras: Collection[Extra] = (),
) -> bytes:
    """Return the same families as rendered by the client library."""
    registry = CollectorRegistry()
    registry.register(LibraryFamilies(tuple(snapshots), info_labels, extras))
    return library_text(registry, form)


def library_text(registry: CollectorRegistry, form: Format) -> bytes:
    """Return a registry as rendered by the client library."""
    generate = generate_text if form is Format.TEXT else generate_openmetrics
    rendered: bytes = generate(registry)
    return rendered
