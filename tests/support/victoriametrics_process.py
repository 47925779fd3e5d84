"""A real VictoriaMetrics that scrapes the exporter: a scraper that shares no code with Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.exporter_stepped import Samples
from support.processes import HttpProgram, debian_program, free_port, running_process
from support.waiting import wait_until


class VictoriaMetrics(HttpProgram):
    """A running VictoriaMetrics."""

    def samples(self, job: str, names: str) -> Samples:
        """Return the newest samples of a job whose names match, without the labels that the scrape added."""
        query = f'{{job="{job}",__name__=~"{names}"}}'
        response = self._http.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=60)
        response.raise_for_status()
        return {
            (
                series["metric"]["__name__"],
                frozenset(
                    (label, value)
                    for label, value in series["metric"].items()
                    if label not in {"__name__", "job", "instance"}
                ),
            ): float(series["value"][1])
            for series in response.json()["data"]["result"]
        }

    def own(self, name: str) -> float:
        """Return the sum of one of its own metrics."""
        text = self._http.get(f"{self.url}/metrics", timeout=30).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )


@contextmanager
def running_victoria_metrics(
    jobs: Sequence[dict[str, object]], directory: Path
) -> Iterator[VictoriaMetrics]:
    """Run a VictoriaMetrics with these jobs, scraped once a second; its files go into the directory."""
    binary = debian_program("victoria-metrics", "victoria-metrics")
    directory.mkdir()
    config = directory / "scrape.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                "scrape_configs": list(jobs),
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        binary,
        f"-promscrape.config={config}",
        f"-storageDataPath={directory / 'data'}",
        f"-httpListenAddr={address}",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        "-loggerLevel=WARN",
    ]
    with running_process(command, directory / "victoria-metrics.log"):
        victoria = VictoriaMetrics(f"http://{address}")
        try:
            wait_until(lambda: victoria.answers("/health"), "VictoriaMetrics is ready", 30)
            yield victoria
        finally:
            victoria.close()
