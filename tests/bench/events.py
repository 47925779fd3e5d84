"""Scrapes of an exporter that reads 100,000 events of a session at every poll, and of one that does not.

The exporters, the simulator and the scraper are four processes. The exporters are scraped in turns, and the other one is
stopped in the meantime, so that it uses no resources.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.benchmark_clients import MetricsClient, SimulatorControl
from support.benchmark_figures import milliseconds_text, print_table, quantile
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

EVENTS = 100_000
ROUNDS = 6
ROUND_SECONDS = 10.0
HISTORY = 1000

_WALKS = 'vb365_api_requests_total{code="200",operation="events",server="hq"}'
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass
class Exporter:
    """An exporter under test and its measurements."""

    address: str
    log: Path
    process: subprocess.Popen[bytes]
    scrapes: list[float] = field(default_factory=list)
    requests: float = 0.0

    def measure(self, seconds: float) -> None:
        """Scrape repeatedly while it polls, pausing as long as each scrape took."""
        self.process.send_signal(signal.SIGCONT)
        with closing(MetricsClient(self.address)) as metrics:
            before = metrics.value(_WALKS) or 0.0
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                begun = time.perf_counter()
                metrics.text()
                taken = time.perf_counter() - begun
                self.scrapes.append(taken)
                time.sleep(taken)
            self.requests += (metrics.value(_WALKS) or 0.0) - before
        self.process.send_signal(signal.SIGSTOP)

    def most_memory_mib(self) -> float:
        """Return its peak memory."""
        found = _PEAK.search(Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    def row(self, name: str) -> tuple[str, ...]:
        return (
            name,
            str(len(self.scrapes)),
            *(milliseconds_text(quantile(self.scrapes, share)) for share in (0.5, 0.99)),
            f"{self.most_memory_mib():.0f} MiB",
            f"{self.requests:.0f}",
        )


@contextmanager
def exporters(directory: Path, events_of_session: int) -> Iterator[tuple[Exporter, Exporter]]:
    """Run an exporter without extras and one with events, both with a simulator whose session has very many events."""
    simulator = f"127.0.0.1:{free_port()}"
    ca_file = directory / "ca.pem"
    simulate: list[str | Path] = [
        *(sys.executable, "-m", "exporter.simulator", f"--web.listen-address={simulator}"),
        *("--tls.ca-file", ca_file, f"--sessions={HISTORY}", "--speed=1e-6"),
    ]
    with ExitStack() as stack:
        stack.enter_context(running_process(simulate, directory / "simulator.log"))
        wait_until(
            lambda: "truth" in (directory / "simulator.log").read_text(), "the simulator", 60
        )
        with closing(SimulatorControl(simulator, ca_file)) as server:
            # No other session runs, so that all there is to walk is this one.
            server.stop_all()
            server.change(organization="contoso.example", type="Vex", items="r" * events_of_session)
        made = []
        for name, extras in (("plain", "[]"), ("events", "[events]")):
            config = directory / f"{name}.yaml"
            config.write_text(
                f"poll_interval: 1s\nservers:\n  - name: hq\n    url: https://{simulator}\n"
                f"    auth: {{username: demo, password: demo}}\n    tls_config: {{ca_file: {ca_file}}}\n"
                f"    change_feed: never\n    sessions: {{extras: {extras}, lookback: 60d}}\n"
            )
            address, log = f"127.0.0.1:{free_port()}", directory / f"{name}.log"
            command = [*EXPORTER, f"--config.file={config}", f"--web.listen-address={address}"]
            process = stack.enter_context(running_process(command, log))
            stack.callback(process.send_signal, signal.SIGCONT)
            wait_until(
                lambda log=log: "first poll succeeded" in log.read_text(),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                "a poll",
                120,
            )
            made.append(Exporter(address, log, process))
            process.send_signal(signal.SIGSTOP)
        plain, events = made
        yield plain, events


def main(
    *, number: int = EVENTS, rounds: int = ROUNDS, round_seconds: float = ROUND_SECONDS
) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        exporters(Path(directory), number) as (plain, events),
    ):
        for _ in range(rounds):
            plain.measure(round_seconds)
            events.measure(round_seconds)
        print_table(
            f"Scrapes while one session has {number} events, {HISTORY} others are shown, and polls follow each other",
            ("extras", "scrapes", "p50", "p99", "most memory", "pages of events meanwhile"),
            (plain.row("none"), events.row("events")),
        )
        ratios = [
            quantile(events.scrapes, share) / quantile(plain.scrapes, share)
            for share in (0.5, 0.99)
        ]
        memory = events.most_memory_mib() - plain.most_memory_mib()
        sys.stdout.write(
            f"\nRatio of p50 {ratios[0]:.2f}, of p99 {ratios[1]:.2f}; memory for the events {memory:.0f} MiB\n"
        )


if __name__ == "__main__":
    main()
