"""The exporter and a simulator with a long history, each in a process of its own."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.benchmark_clients import Scraper
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

_POLLED_WITHIN_SECONDS = 300.0
_CONFIG = """
poll_interval: {poll_interval}
servers:
  - url: https://{simulator}
    auth: {{username: demo, password: demo}}
    tls_config: {{ca_file: ca.pem}}
    sessions: {{max_series: 1000000, max_sessions: 1000000, lookback: 3650d}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledExporter:
    """A running exporter that has completed its first poll."""

    address: str
    process: int

    def resident_bytes(self, *, peak: bool = False) -> int:
        """Return its resident memory, now or at its peak."""
        status = Path(f"/proc/{self.process}/status").read_text()
        found = re.search(rf"Vm{'HWM' if peak else 'RSS'}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def reset_peak(self) -> None:
        """Reset the peak of the resident memory."""
        Path(f"/proc/{self.process}/clear_refs").write_text("5")

    def processor_seconds(self) -> float:
        """Return the processor time it has used."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ready(address: str) -> bool:
    """Whether the first poll has been published."""
    with suppress(ConnectionError, RuntimeError), Scraper(address, path="/-/ready") as scraper:
        scraper.scrape()
        return True
    return False


@contextmanager
def simulated_server(sessions: int, *, poll_interval: str = "1m") -> Iterator[Path]:
    """Run a simulator with this many finished sessions; yield a configuration that polls it."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        simulator, ca_file = f"127.0.0.1:{free_port()}", directory / "ca.pem"
        config = directory / "config.yaml"
        config.write_text(_CONFIG.format(poll_interval=poll_interval, simulator=simulator))
        simulate = [
            *(sys.executable, "-m", "exporter.simulator", f"--web.listen-address={simulator}"),
            *(f"--tls.ca-file={ca_file}", f"--sessions={sessions}", "--speed=0.001"),
        ]
        with running_process(simulate, directory / "simulator.log"):
            wait_until(ca_file.exists, "the simulator", _POLLED_WITHIN_SECONDS)
            yield config


@contextmanager
def polled_exporter(sessions: int, *, poll_interval: str) -> Iterator[PolledExporter]:
    """Run the exporter against a simulator with this many finished sessions; yield after a successful first poll."""
    with simulated_server(sessions, poll_interval=poll_interval) as config:
        address, log = f"127.0.0.1:{free_port()}", config.with_name("exporter.log")
        export = [*EXPORTER, f"--config.file={config}", f"--web.listen-address={address}"]
        with running_process(export, log) as process:
            wait_until(lambda: _ready(address), "a poll", _POLLED_WITHIN_SECONDS, pause_seconds=0.1)
            if "first poll succeeded" not in log.read_text():
                raise RuntimeError(f"the first poll failed: {log.read_text()}")
            yield PolledExporter(address=address, process=process.pid)
