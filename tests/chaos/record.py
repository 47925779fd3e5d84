"""The raw samples that a Prometheus has recorded, by scrape."""

from __future__ import annotations

from support.exporter_stepped import Key
from support.prometheus_process import Prometheus


class Record:
    """All samples that a Prometheus has so far; a scrape is identified by its time.

    Args:
        prometheus: queried once for each selector.
        seconds: maximum age of the first sample.

    Attributes:
        scrapes: whether each scrape succeeded.
    """

    def __init__(self, prometheus: Prometheus, seconds: int) -> None:
        self._prometheus = prometheus
        self._range = f"[{seconds}s]"
        self.scrapes = self.of_one("up")
        # Scraping continues during the evaluation.
        self._range += f" @ {max(self.scrapes)}"

    def of(self, selector: str) -> dict[Key, dict[float, float]]:
        """Return the samples of each series by scrape."""
        found = {}
        for series in self._prometheus.query(selector + self._range):
            labels = {
                name: value
                for name, value in series["metric"].items()
                if name not in {"job", "instance"}
            }
            key = (labels.pop("__name__"), frozenset(labels.items()))
            found[key] = {time: float(value) for time, value in series["values"]}
        return found

    def of_one(self, selector: str) -> dict[float, float]:
        """Return the samples of the only matching series by scrape."""
        (samples,) = self.of(selector).values()
        return samples
