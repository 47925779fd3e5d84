"""A scrape, parsed by the client library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fuzz.expected import SessionView
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from exporter.metrics.exposition import Publisher
from exporter.metrics.text_format import Format
from support.expositions import body

Series = tuple[str | tuple[str, str], ...]

_VALUES = {
    "vb365_restore_session_start_timestamp_seconds": "start",
    "vb365_restore_session_end_timestamp_seconds": "end",
    "vb365_restore_session_duration_seconds": "duration",
    "vb365_restore_session_processed_items": "items",
}


class Scrape:
    """A scrape in both formats; the parsers raise if one is invalid."""

    def __init__(self, publisher: Publisher) -> None:
        self.text = body(publisher).decode()
        self.openmetrics = body(publisher, Format.OPENMETRICS).decode()
        self.samples = [one for family in parse_text(self.text) for one in family.samples]

    def series(self) -> list[Series]:
        """Return names and labels of the text format."""
        return _series(self.samples)

    def openmetrics_series(self) -> list[Series]:
        """Return names and labels of OpenMetrics."""
        # The library does not type it.
        families = parse_openmetrics(self.openmetrics)  # type: ignore[no-untyped-call]
        return _series(one for family in families for one in family.samples)

    def labels(self, label: str, name: str | None = None) -> set[str]:
        """Return all values of a label, of all samples or those with a name."""
        return {
            one.labels[label]
            for one in self.samples
            if label in one.labels and name in {None, one.name}
        }

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with this name and these labels."""
        return sum(
            one.value
            for one in self.samples
            if one.name == name and labels.items() <= one.labels.items()
        )

    def sessions(self) -> dict[str, SessionView]:
        """Return the sessions that have series, by id."""
        fields: dict[str, dict[str, Any]] = defaultdict(dict)
        for one in self.samples:
            labels = one.labels
            if "session_id" not in labels or "organization" not in labels:
                continue
            session = fields[labels["session_id"]]
            session |= {"organization": labels["organization"], "type": labels["type"]}
            session |= {
                label: labels[label]
                for label in ("state", "result")
                if label in labels and one.value == 1
            }
            if field := _VALUES.get(one.name):
                session[field] = one.value
        return {session_id: SessionView(**session) for session_id, session in fields.items()}


def _series(samples: Iterable[Sample]) -> list[Series]:
    return [(one.name, *sorted(one.labels.items())) for one in samples]
