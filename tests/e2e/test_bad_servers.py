"""The command with servers that refuse it or send endless responses."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
import requests
from vb365.support import Connection, Server, http

from exporter.simulator import Simulator
from exporter.simulator.certificates import Certificates
from exporter.simulator.world.world import World
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

MIB = 1 << 20
FAILURES = 'vb365_poll_failures_total{{reason="{}",server="hq"}}'


class Command:
    """The exporter's process."""

    def __init__(self, process: Popen[bytes], port: int) -> None:
        self.process = process
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._session = requests.Session()
        self._session.trust_env = False

    def value(self, series: str) -> float | None:
        """The value of a series; None before there is one."""
        try:
            text = self._session.get(self._url, timeout=30).text
        except requests.ConnectionError:
            return None
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def wait_for(self, series: str, least: float) -> None:
        """Return when a series has grown so far."""
        wait_until(lambda: (self.value(series) or 0.0) >= least, f"{series} >= {least}")

    def peak_mib(self) -> float:
        """The most memory it has ever had at once."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found
        return int(found[1]) / 1024


@contextmanager
def command(folder: Path, url: str, ca_file: Path) -> Iterator[Command]:
    """Run the exporter with a server of this URL and with its password in a file."""
    config = folder / "config.yaml"
    config.write_text(
        f"poll_interval: 1s\nservers:\n  - name: hq\n    url: {url}\n    api_version: v8\n"
        "    change_feed: never\n"
        f"    auth: {{username: demo, password_file: {folder / 'password'}}}\n"
        f"    tls_config: {{ca_file: {ca_file}}}\n"
    )
    port = free_port()
    address = f"--web.listen-address=127.0.0.1:{port}"
    with running_process(
        [*EXPORTER, f"--config.file={config}", address], folder / "log"
    ) as process:
        yield Command(process, port)


def test_a_refused_login_neither_ends_the_command_nor_is_tried_at_every_poll(
    tmp_path: Path,
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong")
    with (
        Simulator(World(activity=False)) as simulator,
        command(tmp_path, simulator.url, simulator.ca_file) as exporter,
    ):
        exporter.wait_for(FAILURES.format("auth"), 3)
        assert exporter.process.poll() is None
        assert simulator.requests["POST", "token"] == 1

        password.write_text(simulator.password)
        exporter.wait_for('vb365_up{server="hq"}', 1)
        assert simulator.requests["POST", "token"] == 2


def test_endless_responses_do_not_fill_the_memory(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("demo")
    certificates = Certificates()
    (tmp_path / "ca.pem").write_bytes(certificates.ca_pem)
    lists = iter([empty_page, endless_body, bomb, small_values])

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            if "/token" in request.target:
                connection.send(http(b'{"access_token": "a", "expires_in": 3600}'))
            elif "/ServiceInstance" in request.target:
                connection.send(http(b'{"version": "8"}'))
            elif "/Organizations" in request.target:
                connection.send(http(b'{"limit": 1000, "results": []}'))
            else:
                next(lists, empty_page)(connection)

    server = Server(talk, certificates.context())
    try:
        with command(tmp_path, server.url, tmp_path / "ca.pem") as exporter:
            exporter.wait_for('vb365_up{server="hq"}', 1)
            before = exporter.peak_mib()

            exporter.wait_for(FAILURES.format("bad_response"), 3)
            exporter.wait_for('vb365_up{server="hq"}', 1)
            assert exporter.peak_mib() < before + 100
    finally:
        server.close()


def empty_page(connection: Connection) -> None:
    connection.send(http(b'{"limit": 1000, "results": []}'))


def endless_body(connection: Connection) -> None:
    """Send 200 MiB, until the client disconnects."""
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * MIB))
    for _ in range(200):
        connection.send(b" " * MIB)


def bomb(connection: Connection) -> None:
    """200 MiB in 200 kB."""
    connection.send(
        http(gzip.compress(b" " * (200 * MIB), 1), headers="Content-Encoding: gzip\r\n")
    )


def small_values(connection: Connection) -> None:
    """As many lists as get into a body that is not too large."""
    body = b'{"results": [' + b"[]," * (16 * MIB // 3 - 10) + b"0]}"
    connection.send(http(gzip.compress(body, 1), headers="Content-Encoding: gzip\r\n"))
