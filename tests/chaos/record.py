"""What a Prometheus has recorded of an exporter: raw samples, scrape by scrape."""

from __future__ import annotations

from support.exporter_stepped import Key
from support.prometheus_process import Prometheus


class Record:
    """All samples that a Prometheus has by now; a scrape is known by its time.

    Args:
        prometheus: asked once for each selector.
        seconds: how long ago the first sample was at most.

    Attributes:
        scrapes: by scrape whether it succeeded.
    """

    def __init__(self, prometheus: Prometheus, seconds: int) -> None:
        self._prometheus = prometheus
        self._range = f"[{seconds}s]"
        self.scrapes = self.of_one("up")
        # Scrapes go on while this is looked at.
        self._range += f" @ {max(self.scrapes)}"

    def of(self, selector: str) -> dict[Key, dict[float, float]]:
        """By series: its samples by scrape."""
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
        """The same of the one series there is."""
        (samples,) = self.of(selector).values()
        return samples
