"""A real Alertmanager, and a webhook that receives its notifications."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.processes import HttpProgram, debian_program, free_port, running_process
from support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Notification:
    """One alert of a notification: its receiver, its status (firing or resolved) and its content."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request of Alertmanager, which may carry several alerts."""

    receiver: str
    received: float
    alertnames: frozenset[str]
    firing: int


class Webhook:
    """Records the notifications that it receives."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._received: list[Notification] = []
        self._deliveries: list[Delivery] = []

    def record(self, path: str, body: bytes) -> None:
        """Record a notification; the path names the receiver."""
        received = [
            Notification(
                path.removeprefix("/"), alert["status"], alert["labels"], alert["annotations"]
            )
            for alert in json.loads(body)["alerts"]
        ]
        delivery = Delivery(
            path.removeprefix("/"),
            time.monotonic(),
            frozenset(one.labels["alertname"] for one in received),
            sum(one.status == "firing" for one in received),
        )
        with self._lock:
            self._received += received
            self._deliveries.append(delivery)

    def deliveries(self) -> list[Delivery]:
        """Return every request so far, in the order of arrival."""
        with self._lock:
            return list(self._deliveries)

    def summary(self) -> set[tuple[str, str, str]]:
        """Return alert, status and receiver of every notification so far."""
        with self._lock:
            return {(one.labels["alertname"], one.status, one.receiver) for one in self._received}

    def notifications(self, alertname: str, status: str, **labels: str) -> list[Notification]:
        """Return the latest notification of an alert for each receiver, ordered by receiver."""
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
        """Wait until exactly these receivers were notified; return the first one's notification."""
        wait_until(
            lambda: (
                set(receivers)
                <= {one.receiver for one in self.notifications(alertname, status, **labels)}
            ),
            f"{receivers} are notified that {alertname}{labels} is {status}",
            60,
        )
        sent = self.notifications(alertname, status, **labels)
        assert sorted(receivers) == [one.receiver for one in sent]
        return sent[0]


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Run a web server on loopback that records notifications."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name http.server asks for
            webhook.record(self.path, self.rfile.read(int(self.headers["Content-Length"])))
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

    def post(self, *alerts: Mapping[str, str], until: datetime | None = None) -> None:
        """Post firing alerts, as Prometheus does; `until` is when they end or have ended."""
        end = {"endsAt": until.isoformat()} if until else {}
        body = [{"labels": labels, **end} for labels in alerts]
        self._http.post(f"{self.url}/api/v2/alerts", json=body, timeout=30).raise_for_status()

    def silence(self, alertnames: str, start: datetime, end: datetime) -> None:
        """Silence the alerts whose names match the pattern."""
        matcher = {"name": "alertname", "value": alertnames, "isRegex": True, "isEqual": True}
        body = {
            "matchers": [matcher],
            "startsAt": start.isoformat(),
            "endsAt": end.isoformat(),
            "createdBy": "test",
            "comment": "test",
        }
        self._http.post(f"{self.url}/api/v2/silences", json=body, timeout=30).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """Return its alerts with their status."""
        response = self._http.get(f"{self.url}/api/v2/alerts", timeout=30)
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()
        return found


@contextmanager
def running_alertmanager(configuration: str, directory: Path) -> Iterator[Alertmanager]:
    """Run an Alertmanager with this configuration; its files go into the directory, which is created."""
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
