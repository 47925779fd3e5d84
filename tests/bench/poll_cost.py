"""The load of polls on VB365: requests and bytes of a first poll and of later ones.

A simulated server counts them over real HTTPS, so the figures are the same on every machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import exporter.logs
from exporter.config import parse_config
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.benchmark_figures import print_table
from support.exporter_harness import server_yaml
from support.single_poller import polled_server

HISTORIES = (0, 100, 1_000, 10_000, 100_000)
CONFIGURED_IDS = 10_000


@dataclass(frozen=True)
class Scenario:
    """A server and the changes on it between two polls."""

    history: int
    running: int = 0
    """Number of sessions opened a day ago."""
    new: int = 0
    """Number of sessions opened and closed between the polls."""
    ids: int = 0
    """Number of configured ids, the newest ones, instead of discovery."""

    def row(self) -> tuple[str, ...]:
        world = World(sessions=self.history, activity=False, minimum=False)
        opened = datetime.now(UTC) - timedelta(days=1)
        for second in range(self.running):
            world.add_session(creation_time=opened + timedelta(seconds=second))
        ids = ", ".join(session.id for session in world.sessions()[: self.ids])
        followed = f"ids: [{ids}], discover: false" if ids else "lookback: 60d"
        with Simulator(world) as simulator:
            servers = server_yaml(simulator, extra=f"sessions: {{{followed}}}")
            config = parse_config(f"servers:{servers}", directory=Path.cwd())
            with polled_server(config.servers[0]) as polled:
                polled.poll()
                first = _cost(simulator)
                now = datetime.now(UTC)
                for _ in range(self.new):
                    world.add_session(
                        creation_time=now, end_time=now, state="Stopped", result="Success"
                    )
                polled.poll()
                later = _cost(simulator)
        what = f"{self.ids:,} configured" if self.ids else f"{self.running:,}"
        return (f"{self.history:,}", what, f"{self.new:,}", *first, *later)


def _cost(simulator: Simulator) -> tuple[str, str]:
    """Return requests by operation and response bytes since the last call."""
    requests = ", ".join(
        f"{count} {operation}" for (_, operation), count in sorted(simulator.requests.items())
    )
    kilobytes = sum(simulator.response_bytes.values()) / 1000
    simulator.traffic.reset()
    return requests, f"{kilobytes:,.1f} kB"


def run(histories: Sequence[int], ids: int) -> None:
    exporter.logs.configure(level="warn", log_format="logfmt")
    longest, usual = max(histories), sorted(histories)[len(histories) // 2]
    scenarios = [
        *(Scenario(history, running) for history in histories for running in (0, 10)),
        Scenario(longest, 10, new=1_000),
        *(Scenario(usual, 10, new) for new in (100, 1_000, 5_000)),
        *(Scenario(usual, running) for running in (100, 1_000)),
        Scenario(ids, ids=ids),
    ]
    print_table(
        "Requests and bytes of one poll",
        (
            *("finished sessions", "running", "new since the poll before"),
            *("first poll", "bytes", "a later poll", "bytes"),
        ),
        (scenario.row() for scenario in scenarios),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, action="append", help="repeatable")
    parser.add_argument("--ids", type=int, default=CONFIGURED_IDS)
    options = parser.parse_args()
    run(options.history or HISTORIES, options.ids)


if __name__ == "__main__":
    main()
