"""Expositions of made-up snapshots, and the client library's rendering of the same families to compare with."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.config import Extra
from exporter.metrics.catalogue import SESSION_LABELS, SessionFamily, session_families
from exporter.metrics.exposition import Publisher
from exporter.metrics.families import SnapshotCollector, empty_family
from exporter.metrics.formats import Format
from exporter.metrics.labels import label_value
from exporter.polling.snapshot import Snapshot


def publisher(
    *snapshots: Snapshot,
    info_labels: Sequence[str] = (),
    extras: Collection[Extra] = (),
    own: CollectorRegistry | None = None,
) -> Publisher:
    """A publisher of these snapshots whose clock stands still."""
    made = Publisher(
        own or CollectorRegistry(), info_labels=info_labels, extras=extras, monotonic=lambda: 0.0
    )
    for snapshot in snapshots:
        made.publish(snapshot)
    return made


def body(made: Publisher, form: Format = Format.TEXT) -> bytes:
    """What a scrape gets; asked for plain and compressed, which have to agree."""
    exposition = made.exposition(form)
    raw = b"".join(exposition.chunks(gzip=False))
    compressed = b"".join(exposition.chunks(gzip=True))
    assert len(raw) == exposition.content_length(gzip=False)
    assert len(compressed) == exposition.content_length(gzip=True)
    assert raw == gzip.decompress(compressed)
    return raw


class _Oracle(Collector):
    """All families as objects of the client library, made straight from the catalogue's rows."""

    def __init__(self, snapshots: Sequence[Snapshot], rows: Sequence[SessionFamily]) -> None:
        self._snapshots = snapshots
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        for row in self._rows:
            names = (*SESSION_LABELS, *row.labels)
            family = empty_family(row, names)
            for snapshot in self._snapshots:
                sessions = [
                    *(one.session for one in snapshot.running_with_series),
                    *(session for block in snapshot.finished for session in block.sessions),
                ]
                for session in sessions:
                    shared = (snapshot.server, session.id, session.organization, session.type.value)
                    for values, value in row.samples(session):
                        labels = map(label_value, (*shared, *values))
                        family.add_sample(row.name, dict(zip(names, labels, strict=True)), value)
            yield family
        yield from SnapshotCollector(self._snapshots).collect()


def library_body(
    snapshots: Iterable[Snapshot],
    form: Format,
    info_labels: Sequence[str] = (),
    extras: Collection[Extra] = (),
) -> bytes:
    """The same families, rendered by the client library."""
    registry = CollectorRegistry()
    registry.register(_Oracle(tuple(snapshots), session_families(info_labels, extras)))
    generate = generate_text if form is Format.TEXT else generate_openmetrics
    rendered: bytes = generate(registry)
    return rendered
