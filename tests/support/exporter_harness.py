"""The running exporter without its command: pollers, publisher and web server, against real HTTPS servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from exporter.config import parse_config
from exporter.polling.clock import Clock
from exporter.service.backend import ServiceBackend
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from exporter.simulator import Simulator
from exporter.web.app import WebApp
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, bind_listeners
from exporter.web.server import WebServer
from support.waiting import wait_until

Labels = dict[str, str]


class RunningExporter:
    """An exporter under test."""

    def __init__(self, url: str, service: Service) -> None:
        self.url = url
        self.service = service

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET request, as a browser or Prometheus would."""
        return requests.get(self.url + path, headers=headers, timeout=30)

    def text(self) -> str:
        """Return the text exposition."""
        response = self.get("/metrics")
        assert response.status_code == 200
        return response.content.decode()

    def samples(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """Return the samples of a name that have at least these labels."""
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the only sample with these labels; None if there is none."""
        samples = self.samples(name, **labels)
        assert len(samples) <= 1, samples
        return samples[0][1] if samples else None

    def wait_for(self, expected: float, name: str, **labels: str) -> None:
        """Scrape until a sample has this value."""
        wait_until(lambda: self.value(name, **labels) == expected, f"{name}{labels} == {expected}")

    def wait_for_poll(self) -> None:
        """Wait for a poll of each server that begins after this call."""
        before = self._polls()
        names = [server.name for server in self.service.config.servers]

        def polled_twice() -> bool:
            now = self._polls()
            return all(now.get(name, 0.0) >= before.get(name, 0.0) + 2 for name in names)

        wait_until(polled_twice, "two more polls of each server")

    def _polls(self) -> dict[str, float]:
        """Return how many polls of each server have ended."""
        return {labels["server"]: value for labels, value in self.samples("vb365_polls_total")}


def server_yaml(
    simulator: Simulator, name: str = "hq", extra: str = "", *, change_feed: str = "auto"
) -> str:
    """The configuration of one server that is a simulator; `extra` are more keys of it."""
    return f"""
  - name: {name}
    url: {simulator.url}
    auth: {{username: {simulator.username}, password: {simulator.password}}}
    tls_config: {{ca_file: {simulator.ca_file}}}
    change_feed: {change_feed}
    {extra}
"""


def write_config(directory: Path, servers: str, top: str = "poll_interval: 1s") -> Path:
    """Write a configuration file for the command."""
    file = directory / "config.yaml"
    file.touch(mode=0o600)
    file.write_text(f"{top}\nservers:{servers}")
    return file


@contextmanager
def running_exporter(
    servers: str,
    top: str = "poll_interval: 1s",
    *,
    clock: Clock | None = None,
    make_worker: Callable[..., ServerWorker] = ServerWorker,
) -> Iterator[RunningExporter]:
    """Run an exporter with this configuration; clock and workers as for `Service`."""
    config = parse_config(f"{top}\nservers:{servers}", directory=Path.cwd())
    service = Service(config, clock=clock, make_worker=make_worker)
    app = WebApp(ServiceBackend(service))
    web = WebServer(ConnectionManager(app), bind_listeners([Address("127.0.0.1", 0)]))
    web.start()
    service.start()
    try:
        yield RunningExporter(f"http://{web.addresses[0]}", service)
    finally:
        service.stop()
        web.close(2.0)
