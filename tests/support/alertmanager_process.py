"""A real Alertmanager, and the web server that gets its notifications."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.exporter_harness import wait_until
from support.processes import HttpProgram, debian_program, free_port, running_process


@dataclass(frozen=True, slots=True)
class Notification:
    """One alert in a notification: who was told, whether it fires or is resolved, and what it says."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Webhook:
    """Keeps what it is sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._received: list[Notification] = []

    def take(self, path: str, body: bytes) -> None:
        """Keep what a receiver was sent."""
        received = [
            Notification(
                path.removeprefix("/"), alert["status"], alert["labels"], alert["annotations"]
            )
            for alert in json.loads(body)["alerts"]
        ]
        with self._lock:
            self._received += received

    def everything(self) -> set[tuple[str, str, str]]:
        """Who was told of which alert so far, and what: alert, status, receiver."""
        with self._lock:
            return {(one.labels["alertname"], one.status, one.receiver) for one in self._received}

    def told(self, alertname: str, status: str, **labels: str) -> list[Notification]:
        """What was told of an alert so far, each receiver once, in the order of their names."""
        wanted = {"alertname": alertname, **labels}
        with self._lock:
            found = {
                one.receiver: one
                for one in self._received
                if one.status == status and wanted.items() <= one.labels.items()
            }
        return [found[receiver] for receiver in sorted(found)]

    def wait_for(
        self, receivers: Sequence[str], alertname: str, status: str, **labels: str
    ) -> Notification:
        """Wait until just these receivers were told; returns what the first was told."""
        wait_until(
            lambda: (
                set(receivers) <= {one.receiver for one in self.told(alertname, status, **labels)}
            ),
            f"{receivers} are told that {alertname}{labels} is {status}",
            60,
        )
        told = self.told(alertname, status, **labels)
        assert sorted(receivers) == [one.receiver for one in told]
        return told[0]


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Run a web server on loopback that takes notifications."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name http.server asks for
            webhook.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook = Webhook(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, name="webhook")
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()


class Alertmanager(HttpProgram):
    """A running Alertmanager."""

    def __init__(self, address: str) -> None:
        super().__init__(f"http://{address}")
        self.address = address

    def post(self, *alerts: Mapping[str, str]) -> None:
        """Tell it of alerts that fire, as Prometheus does."""
        body = [{"labels": labels} for labels in alerts]
        self._http.post(f"{self.url}/api/v2/alerts", json=body, timeout=5).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts it knows, with what became of them."""
        answer = self._http.get(f"{self.url}/api/v2/alerts", timeout=5)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found


@contextmanager
def running_alertmanager(configuration: str, directory: Path) -> Iterator[Alertmanager]:
    """Run one with this configuration; its files go into the directory, which is made."""
    binary = debian_program("prometheus-alertmanager", "prometheus-alertmanager")
    directory.mkdir(exist_ok=True)
    config = directory / "alertmanager.yml"
    config.write_text(configuration, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]
    with running_process(command, directory / "alertmanager.log"):
        alertmanager = Alertmanager(address)
        try:
            wait_until(lambda: alertmanager.answers("/-/ready"), "Alertmanager is ready", 30)
            yield alertmanager
        finally:
            alertmanager.close()
