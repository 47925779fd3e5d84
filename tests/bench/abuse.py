"""Scrapes next to clients that hold idle connections or send malformed requests.

The exporter, the scraper and the abusive clients are three processes. Quiet and disturbed periods alternate in one run, so
that other load affects both.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import trustme

from support.benchmark_figures import milliseconds_text, print_table, quantile
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

SESSIONS = 1000
# The last round is longer than the server waits for silent clients.
ROUNDS_SECONDS = (3.0, 3.0, 3.0, 10.0)
PASSWORD = "right"


@dataclass(frozen=True)
class Target:
    """An exporter and the way it is scraped."""

    address: str
    context: ssl.SSLContext | None

    def scrape(self) -> float:
        """Return the seconds of a scrape over a new connection, as Prometheus opens one a minute."""
        credentials = base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()
        headers = {"Accept-Encoding": "gzip", "Authorization": f"Basic {credentials}"}
        begun = time.perf_counter()
        connection = (
            http.client.HTTPConnection(self.address, timeout=30)
            if self.context is None
            else http.client.HTTPSConnection(self.address, timeout=30, context=self.context)
        )
        with closing(connection):
            connection.request("GET", "/metrics", headers=headers)
            answer = connection.getresponse()
            answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the scrape was answered by {answer.status}")
        return time.perf_counter() - begun

    def scrape_for(self, seconds: float) -> list[float]:
        """Scrape repeatedly, pausing as long as each scrape took."""
        taken = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            taken.append(self.scrape())
            time.sleep(taken[-1])
        return taken


@dataclass
class Scenario:
    """Abusive clients of one kind, and the scrapes measured next to them."""

    name: str
    kind: str
    number: int
    target: Target
    quiet: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    longest_seconds: float = 0.0

    def measure(self) -> None:
        """Alternate between scraping alone and next to the abusive clients."""
        for seconds in ROUNDS_SECONDS:
            self.quiet += self.target.scrape_for(seconds)
            with self._abusers():
                self.disturbed += self.target.scrape_for(seconds)

    @contextmanager
    def _abusers(self) -> Iterator[None]:
        command = [
            *(sys.executable, "-m", "support.abusive_clients"),
            *(self.kind, str(self.number), self.target.address),
        ]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{self.name}: did not get ready")
            yield
            process.stdin.close()
            self.longest_seconds = max(self.longest_seconds, float(process.stdout.read()))

    def row(self) -> tuple[str, ...]:
        self.measure()
        quiet, disturbed = (quantile(taken, 0.99) for taken in (self.quiet, self.disturbed))
        return (
            self.name,
            f"{len(self.quiet)}, {len(self.disturbed)}",
            milliseconds_text(quantile(self.quiet, 0.5)),
            milliseconds_text(quantile(self.disturbed, 0.5)),
            milliseconds_text(quiet),
            milliseconds_text(disturbed),
            f"{disturbed / quiet:.2f}",
            f"{self.longest_seconds:.1f} s" if self.longest_seconds else "",
        )


@contextmanager
def targets(directory: Path) -> Iterator[tuple[Target, Target]]:
    """Run two exporters with a simulator's sessions, one with plain HTTP and one with TLS and a password."""
    simulator, plain, tls = (f"127.0.0.1:{free_port()}" for _ in range(3))
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(directory / "server.crt"))
    leaf.private_key_pem.write_to_path(str(directory / "server.key"))
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (directory / "web.yml").write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f"basic_auth_users: {{prometheus: {hashed}}}\n"
    )
    (directory / "config.yaml").write_text(
        f"servers:\n  - url: https://{simulator}\n    auth: {{username: demo, password: demo}}\n"
        "    tls_config: {ca_file: ca.pem}\n"
    )
    ca_file = directory / "ca.pem"
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    made = Target(plain, None), Target(tls, trust)
    simulate: list[str | Path] = [
        *(sys.executable, "-m", "exporter.simulator", f"--web.listen-address={simulator}"),
        *("--tls.ca-file", ca_file, f"--sessions={SESSIONS}"),
    ]
    with ExitStack() as stack:
        stack.enter_context(running_process(simulate, directory / "simulator.log"))
        wait_until(ca_file.exists, "the simulator")
        for number, target in enumerate(made):
            command = [
                *(*EXPORTER, f"--config.file={directory / 'config.yaml'}"),
                f"--web.listen-address={target.address}",
                *([] if target.context is None else [f"--web.config.file={directory / 'web.yml'}"]),
            ]
            log = directory / f"exporter-{number}.log"
            stack.enter_context(running_process(command, log))
            wait_until(lambda log=log: "first poll succeeded" in log.read_text(), "a poll", 60)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        yield made


def main() -> None:
    with tempfile.TemporaryDirectory() as made, targets(Path(made)) as (plain, tls):
        scenarios = [
            Scenario("one silent client", "silent", 1, plain),
            Scenario("500 half-sent requests", "half-sent", 500, plain),
            Scenario("600 half-sent requests, more than there are places", "half-sent", 600, plain),
            Scenario("10 clients that send malformed requests", "malformed", 10, plain),
            Scenario("TLS: 500 silent clients", "silent", 500, tls),
            Scenario("TLS: 500 silent after the handshake", "silent-after-handshake", 500, tls),
            Scenario("TLS: 3 clients that guess passwords", "guessing", 3, tls),
        ]
        print_table(
            f"Scrapes of {SESSIONS} sessions, quiet and beside other clients",
            (
                *("beside", "scrapes", "p50 quiet", "p50 beside", "p99 quiet", "p99 beside"),
                *("ratio of p99", "closed after at most"),
            ),
            (scenario.row() for scenario in scenarios),
        )


if __name__ == "__main__":
    main()
