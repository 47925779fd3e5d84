from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.metrics.formats import Format
from exporter.metrics.library import RegistryText
from exporter.metrics.telemetry import Telemetry
from exporter.vb365.errors import Reason


def library_text(form: Format, registry: CollectorRegistry) -> bytes:
    if form is Format.TEXT:
        return generate_latest(registry)
    body: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call] # the library does not type it
    return body.removesuffix(b"# EOF\n")


def without_what_never_stands_still(text: bytes) -> bytes:
    return re.sub(rb"(?m)^((?:process|python)_\S+) .*$", rb"\1", text)


@pytest.mark.parametrize("form", Format)
def test_the_exporters_own_metrics_are_written_as_the_library_writes_them(form: Format) -> None:
    telemetry = Telemetry()
    for name in ("hq", 'bra"nch\\', "Zürich\nNord"):
        server = telemetry.server(name, ["events"])
        server.request("list", "200", 0.3)
        server.polled(Reason.TIMEOUT)
        server.feed_connected(connected=True)
        server.feed_event("update", 1_795_645_208.889)
    telemetry.configured(60.0, 1_795_645_208.25)

    ours = RegistryText(telemetry.registry).render(form)

    assert without_what_never_stands_still(
        library_text(form, telemetry.registry)
    ) == without_what_never_stands_still(ours)


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    "value", [0, 1, -2.5, 1e-9, 1e21, 1795645208.5, float("inf"), float("nan")]
)
def test_any_value_is_written_as_the_library_writes_it(form: Format, value: float) -> None:
    registry = Telemetry(with_process=False).registry
    made: dict[str, Any] = {"registry": registry}
    Gauge("level", "A level.", **made).set(value)
    Counter("events", "Some\nevents.", ["kind"], **made).labels("a").inc(abs(value) or 1)
    Histogram("seconds", "How long.", buckets=(0.1, 1), **made).observe(value)

    assert library_text(form, registry) == RegistryText(registry).render(form)
