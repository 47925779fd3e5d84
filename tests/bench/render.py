"""Rendering everything without any cache, compared with the client library's `generate_latest` for the same families."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.metrics.catalogue.sessions import session_families
from exporter.metrics.rendering import render_sessions, render_snapshot
from exporter.metrics.text_format import Format
from exporter.polling.snapshot import Snapshot
from support.benchmark_figures import (
    interleave,
    median_ratio,
    milliseconds_text,
    print_table,
    ratio_text,
    thread_seconds,
)
from support.expositions import LibraryFamilies, body, publisher
from support.sample_history import History

ROUNDS = 5
INFO_LABELS = ("name", "initiated_by", "client_host", "details")
Generate = Callable[[CollectorRegistry], bytes]
GENERATORS: Sequence[tuple[str, Format, Generate]] = (
    ("text 0.0.4", Format.TEXT, generate_text),
    ("OpenMetrics 1.0", Format.OPENMETRICS, generate_openmetrics),
)


class Made(Collector):
    """Families built beforehand, so that only `generate_latest` is measured."""

    def __init__(self, snapshot: Snapshot, info_labels: Sequence[str]) -> None:
        self._families = list(LibraryFamilies([snapshot], info_labels).collect())

    def collect(self) -> list[Metric]:
        return self._families


def rows(
    sizes: Sequence[int], info_labels: Sequence[str], rounds: int
) -> Iterator[tuple[str, ...]]:
    families = session_families(info_labels)
    for size in sizes:
        snapshot = History(size).snapshot()
        registry = CollectorRegistry()
        registry.register(Made(snapshot, info_labels))

        def ours(snapshot: Snapshot = snapshot) -> list[list[bytes]]:
            """Render everything in blocks, as a publish does."""
            return [
                *(
                    render_sessions(snapshot.server, block.sessions, families)
                    for block in snapshot.finished_with_series
                ),
                render_snapshot(snapshot),
            ]

        for name, form, generate in GENERATORS:
            rendered = generate(registry)
            if rendered != body(publisher(snapshot, info_labels=info_labels), form):
                raise RuntimeError(f"{name} of {size} sessions is not what the library renders")
            library, own = interleave(
                rounds if size <= 10_000 else 1,  # the library needs ten seconds for each of these
                lambda generate=generate, registry=registry: thread_seconds(
                    lambda: generate(registry)
                ),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                lambda ours=ours: thread_seconds(ours),  # type: ignore[misc]  # the same
            )
            yield (
                str(size),
                ", ".join(info_labels) or "none",
                name,
                f"{len(rendered) / 1e6:.1f} MB",
                milliseconds_text(statistics.median(library)),
                milliseconds_text(statistics.median(own)),
                ratio_text(median_ratio(library, own)),
            )


def main(sizes: Sequence[int] = (100, 1000, 10_000, 100_000), rounds: int = ROUNDS) -> None:
    print_table(
        "A fresh render, byte for byte what generate_latest gives for the same families",
        (
            *("sessions", "info_labels", "format", "text", "generate_latest", "this exporter"),
            "times as fast",
        ),
        (
            *rows(sizes, (), rounds),
            *rows([size for size in sizes if size <= 10_000][-1:], INFO_LABELS, rounds),
        ),
    )


if __name__ == "__main__":
    main()
