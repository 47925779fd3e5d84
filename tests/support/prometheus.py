"""A real Prometheus beside the exporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from support.programs import free_port, program, started
from support.running import wait_until


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, as of now."""
        found: list[dict[str, Any]] = self._data("query", query=expression)["result"]
        return found

    def targets(self) -> dict[str, tuple[str, str]]:
        """By job: how its target is (up, down or unknown), and its last error."""
        return {
            target["scrapePool"]: (target["health"], target["lastError"])
            for target in self._data("targets")["activeTargets"]
        }

    def ready(self) -> bool:
        """Whether it has started."""
        try:
            return self._session.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _data(self, path: str, **parameters: str) -> dict[str, Any]:
        answer = self._session.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10)
        data: dict[str, Any] = answer.json()["data"]
        return data


@contextmanager
def running_prometheus(configuration: str, directory: Path) -> Iterator[Prometheus]:
    """Run Prometheus with this configuration; its files go into the directory, which is made."""
    binary = program("prometheus", "prometheus")
    directory.mkdir()
    config = directory / "prometheus.yml"
    config.write_text(configuration)
    port = free_port()
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with started(command, directory / "prometheus.log"):
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(prometheus.ready, "Prometheus is ready", 30)
        yield prometheus
