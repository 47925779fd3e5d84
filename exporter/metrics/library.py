"""Whole families as the client library's `generate_latest` writes them.

What it costs the library to write many samples is most of it escaping and sorting anew for each; heads it writes itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from exporter.metrics.formats import Format
from exporter.metrics.lines import label_pair
from exporter.metrics.numbers import go_float

__all__ = ["RegistryText", "head"]

# Names need no escaping here, and this is the scheme that leaves them alone.
_ESCAPING = "allow-utf-8"


def head(form: Format, family: Metric) -> bytes:
    """The lines that tell what a family is, without its samples."""
    bare = Metric(family.name, family.documentation, family.type, family.unit)
    registry = CollectorRegistry()
    registry.register(_Fixed(bare))
    if form is Format.TEXT:
        return generate_text(registry, escaping=_ESCAPING)
    body: bytes = generate_openmetrics(registry, escaping=_ESCAPING)  # type: ignore[no-untyped-call] # the library does not type it
    return body.removesuffix(b"# EOF\n")


class RegistryText:
    """The text of a registry of metrics that have no exemplars, no timestamps and no `_created` series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._heads: dict[tuple[Format, str], str] = {}

    def render(self, form: Format) -> bytes:
        """All families as they are now; for OpenMetrics without the end mark, which closes the body."""
        return "".join(
            part
            for family in self._registry.collect()
            for part in (self._head(form, family), *map(_line, family.samples))
        ).encode()

    def _head(self, form: Format, family: Metric) -> str:
        known = self._heads.get((form, family.name))
        if known is None:
            known = self._heads[form, family.name] = head(form, family).decode()
        return known


class _Fixed(Collector):
    """A collector of one given family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _line(sample: Sample) -> str:
    if not sample.labels:
        return f"{sample.name} {go_float(sample.value)}\n"
    pairs = ",".join([label_pair(*label) for label in sorted(sample.labels.items())])
    return f"{sample.name}{{{pairs}}} {go_float(sample.value)}\n"
