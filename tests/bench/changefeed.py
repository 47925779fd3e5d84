"""Latency and cost of a change on `/metrics` through the change feed of VB365 8.

The exporter is its command, the server a simulator in another process. Sessions start and end with one of the results, one
after another. The poll interval is five minutes, so that only the feed reports changes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from support.benchmark_clients import MetricsClient, SimulatorControl
from support.benchmark_figures import milliseconds_text, print_table, quantile
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

CHANGES = 500
RESULTS = ("Success", "Warning", "Failed")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The measurements."""

    seconds: list[float]
    requests: Counter[str]
    polls: float


def measured(server: SimulatorControl, metrics: MetricsClient, changes: int) -> Figures:
    """Change sessions, each after the previous change is visible."""
    before, polls = metrics.requests(), metrics.value('vb365_polls_total{server="hq"}') or 0.0
    seconds = []
    results = cycle(RESULTS)
    for _ in range(changes // 2):
        session_id = server.change(organization="contoso.example", type="Vex")
        seconds.append(metrics.seconds_until(_line(session_id, "state", "Working")))
        result = next(results)
        server.change(id=session_id, state="Stopped", result=result)
        seconds.append(metrics.seconds_until(_line(session_id, "result", result)))
    return Figures(
        seconds=seconds,
        requests=metrics.requests() - before,
        polls=(metrics.value('vb365_polls_total{server="hq"}') or 0.0) - polls,
    )


def _line(session_id: str, what: str, value: str) -> re.Pattern[str]:
    labels = rf'[^}}\n]*{what}="{value}"[^}}\n]*session_id="{session_id}"|[^}}\n]*session_id="{session_id}"[^}}\n]*{what}="{value}"'
    return re.compile(
        rf"^vb365_restore_session_{what}\{{(?:{labels})[^}}\n]*\}} 1\.0$", re.MULTILINE
    )


@contextmanager
def running(directory: Path) -> Iterator[tuple[SimulatorControl, MetricsClient]]:
    """Run a simulator almost without activity of its own, and an exporter that follows its feed."""
    simulator, address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    ca_file = directory / "ca.pem"
    (directory / "config.yaml").write_text(
        f"poll_interval: 5m\nservers:\n  - name: hq\n    url: https://{simulator}\n"
        f"    auth: {{username: demo, password: demo}}\n    tls_config: {{ca_file: {ca_file}}}\n"
    )
    simulate: list[str | Path] = [
        *(sys.executable, "-m", "exporter.simulator", f"--web.listen-address={simulator}"),
        *("--tls.ca-file", ca_file, "--sessions=0", "--speed=1e-6"),
    ]
    export = [
        *(*EXPORTER, f"--config.file={directory / 'config.yaml'}"),
        f"--web.listen-address={address}",
    ]
    with running_process(simulate, directory / "simulator.log"):
        wait_until(
            lambda: "truth" in (directory / "simulator.log").read_text(), "the simulator", 60
        )
        with (
            running_process(export, directory / "exporter.log"),
            closing(SimulatorControl(simulator, ca_file)) as server,
        ):
            log = directory / "exporter.log"
            wait_until(lambda: "first poll succeeded" in log.read_text(), "a poll", 60)
            with closing(MetricsClient(address)) as metrics:
                connected = 'vb365_change_feed_connected{server="hq"}'
                wait_until(lambda: metrics.value(connected) == 1, "the feed", 60)
                polls = 'vb365_polls_total{server="hq"}'
                wait_until(lambda: metrics.value(polls) == 2, "the poll of its beginning", 60)
                yield server, metrics


def main(*, changes: int = CHANGES) -> None:
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as (server, metrics):
        figures = measured(server, metrics, changes)
    others = Counter(figures.requests)
    long_polls = others.pop("change_feed", 0)
    print_table(
        f"{changes} changes, one after the other, seen on /metrics by the change feed; poll_interval is 5m",
        ("what", "p50", "p99", "longest"),
        [
            (
                "until it is on /metrics",
                *(
                    milliseconds_text(quantile(figures.seconds, share))
                    for share in (0.5, 0.99, 1.0)
                ),
            )
        ],
    )
    print_table(
        "What it cost the server",
        ("requests", "number", "per change"),
        [
            ("long-polls", str(long_polls), f"{long_polls / changes:.2f}"),
            *((name, str(n), f"{n / changes:.2f}") for name, n in sorted(others.items())),
            ("all but long-polls", str(others.total()), f"{others.total() / changes:.2f}"),
        ],
    )
    sys.stdout.write(f"\nPolls meanwhile: {figures.polls:.0f}\n")


if __name__ == "__main__":
    main()
