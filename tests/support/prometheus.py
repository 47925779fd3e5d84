"""A real Prometheus that scrapes the exporter, and what it has recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from support.programs import free_port, program, started
from support.running import wait_until

__all__ = ["Prometheus", "running_prometheus"]

_STARTS_WITHIN_SECONDS = 30


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.trust_env = False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query."""
        answer = self._http.get(
            f"{self.url}/api/v1/query", params={"query": expression}, timeout=60
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return self._http.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        """Close the connection to it."""
        self._http.close()


@contextmanager
def running_prometheus(
    target: str, folder: Path, *, scrape_interval: str = "1s"
) -> Iterator[Prometheus]:
    """Run one that scrapes this target (host:port); returns when it has scraped it once."""
    binary = program("prometheus", "prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {scrape_interval}, scrape_timeout: {scrape_interval}}}\n"
        "scrape_configs:\n  - job_name: vb365\n    static_configs:\n"
        f"      - targets: ['{target}']\n"
    )
    port = free_port()
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with started(command, folder / "prometheus.log"):
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        try:
            wait_until(prometheus.ready, "Prometheus is ready", _STARTS_WITHIN_SECONDS)
            wait_until(
                lambda: prometheus.query("up == 1") != [],
                "the exporter is scraped",
                _STARTS_WITHIN_SECONDS,
            )
            yield prometheus
        finally:
            prometheus.close()
