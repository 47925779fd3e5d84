"""A real Prometheus that scrapes the exporter, and queries of its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.processes import HttpProgram, debian_program, free_port, running_process
from support.waiting import wait_until

_STARTS_WITHIN_SECONDS = 30


class Prometheus(HttpProgram):
    """A running Prometheus."""

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, as of now."""
        found: list[dict[str, Any]] = self._data("query", query=expression)["result"]
        return found

    def targets(self) -> dict[str, tuple[str, str]]:
        """Return the health (up, down or unknown) and last error of each job's target."""
        return {
            target["scrapePool"]: (target["health"], target["lastError"])
            for target in self._data("targets")["activeTargets"]
        }

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its health."""
        return [rule for group in self._data("rules")["groups"] for rule in group["rules"]]

    def _data(self, path: str, **parameters: str) -> dict[str, Any]:
        response = self._http.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60)
        response.raise_for_status()
        data: dict[str, Any] = response.json()["data"]
        return data


def scrape_configuration(targets: Sequence[str], scrape_interval: str = "1s") -> str:
    """Return the configuration of a Prometheus that scrapes these targets (host:port)."""
    return (
        f"global: {{scrape_interval: {scrape_interval}, scrape_timeout: {scrape_interval}}}\n"
        "scrape_configs:\n  - job_name: vb365\n    static_configs:\n"
        f"      - targets: [{', '.join(targets)}]\n"
    )


@contextmanager
def running_prometheus(
    configuration: str, directory: Path, *, flags: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """Run a Prometheus with this configuration; its files go into the directory, which is created."""
    binary = debian_program("prometheus", "prometheus")
    directory.mkdir(exist_ok=True)
    config = directory / "prometheus.yml"
    config.write_text(configuration)
    port = free_port()
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *flags,
    ]
    with running_process(command, directory / "prometheus.log"):
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        try:
            wait_until(
                lambda: prometheus.answers("/-/ready"),
                "Prometheus is ready",
                _STARTS_WITHIN_SECONDS,
            )
            yield prometheus
        finally:
            prometheus.close()


@contextmanager
def scraped_by_prometheus(
    target: str, directory: Path, *, scrape_interval: str = "1s", flags: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes this target (host:port); yield after the first scrape."""
    configuration = scrape_configuration([target], scrape_interval)
    with running_prometheus(configuration, directory, flags=flags) as prometheus:
        wait_until(
            lambda: prometheus.query("up == 1") != [],
            "the exporter is scraped",
            _STARTS_WITHIN_SECONDS,
        )
        yield prometheus
