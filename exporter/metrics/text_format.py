"""The text format and OpenMetrics, written as the client library's `generate_latest` writes them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter

from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.metrics.catalogue.family import Family, Kind
from exporter.text import label_value

_OPENMETRICS_END = b"# EOF\n"


class Format(enum.Enum):
    """An exposition format; the value is its exact `Content-Type`."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def content_type(self) -> str:
        """The `Content-Type` header of a body in this format."""
        return self.value


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """Return foreign text as a valid label value, escaped for use between quotation marks."""
    return label_value(text).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def go_float(value: float) -> str:
    """Format a number as Go does.

    Most values served are small numbers and Unix times; for these this is twice as fast as the library.
    """
    if 0 <= value < 1e6:
        return repr(float(value))
    if 1e9 <= value < 1e10:
        digits = repr(float(value))
        fraction = digits[11:]
        if fraction != "0":
            return f"{digits[0]}.{digits[1:10]}{fraction}e+09"
    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # the library does not type it


def series_template(name: str, labels: Iterable[str], **fixed: str) -> str:
    """Return a metric name and its labels, sorted by name, with a `%s` for each value but the `fixed` ones."""
    values = {**dict.fromkeys(labels, "%s"), **fixed}
    pairs = ",".join(f'{label}="{value}"' for label, value in sorted(values.items()))
    return f"{name}{{{pairs}}}"


def sample_lines(
    name: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> str:
    """Return the lines of samples that share their name and label names.

    Args:
        name: the samples' name.
        labels: label names, in any order.
        samples: `escaped` label values, in the order of `labels`, and the value of each sample.
    """
    line = f"{series_template(name, labels)} %s\n"
    order = sorted(range(len(labels)), key=labels.__getitem__)
    sort = itemgetter(*order) if len(order) > 1 else tuple
    return "".join([line % (*sort(values), go_float(value)) for values, value in samples])


def family_header(form: Format, family: Family) -> bytes:
    """Return the lines that describe a family: HELP, TYPE, and in OpenMetrics UNIT."""
    return registry_text(form, _EmptyFamily(family)).removesuffix(_OPENMETRICS_END)


def registry_text(form: Format, registry: Collector) -> bytes:
    """Return all families of a registry, in OpenMetrics followed by the end marker."""
    if form is Format.TEXT:
        return generate_text(registry)
    body: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call] # the library does not type it
    return body


def empty_family(family: Family) -> Metric:
    """Return the client library's object for a family, without samples."""
    name = family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name
    return Metric(name, family.help, family.kind.value, family.unit)


class _EmptyFamily(Collector):
    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (empty_family(self._family),)
