"""Two simulated servers, one with a random sequence of failures, and an exporter in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import requests
from chaos.schedule import Poll, Schedule

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.failure_catalogue import SessionRole
from support.processes import clean_environment
from support.waiting import wait_until

SCRAPE_SECONDS = 2
_OPEN = 4
_HEALTHY_SESSIONS = 20


class Harness:
    """The servers `healthy` and `faulty`, and the exporter that polls both.

    Attributes:
        polls: the faulty server's polls, in order.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.healthy = Simulator(
            World(sessions=_HEALTHY_SESSIONS, organizations=3, activity=False, seed=seed)
        )
        world = World(sessions=0, organizations=0, activity=False, minimum=False, seed=seed + 1)
        self.faulty = Simulator(world, token_throttle=True)
        self.polls: list[Poll] = []
        self.address = ""
        """Host and port of the exporter's web server."""
        password_file = directory / "password"
        password_file.write_text(self.faulty.password)
        self.schedule = Schedule(self.faulty, _add_sessions(world), password_file, Random(seed))  # noqa: S311 - repeatable
        self._directory = directory
        self._process: subprocess.Popen[str]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; yield when the healthy server has been polled once."""
        with self.healthy, self.faulty, (self._directory / "exporter.log").open("wb") as log:
            servers = self._directory / "servers.yaml"
            servers.write_text(self._servers_yaml())
            with subprocess.Popen(
                [sys.executable, "-m", "chaos.exporter", servers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=Path(__file__).parents[1],
                env=clean_environment(),
            ) as self._process:
                try:
                    self.address = self._read_line()["address"]
                    wait_until(self._healthy_is_shown, "the first poll of the healthy server")
                    yield
                finally:
                    self._process.kill()

    def run(self, seconds: float) -> None:
        """Let the faulty server go through failures for this time, and check each of its polls."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            report = self._read_line()
            poll = Poll(
                began=report["ended"] - report["seconds"],
                ended=report["ended"],
                reason=report["reason"],
            )
            assert report["up"] == (poll.reason is None)
            self.polls.append(poll)
            self.schedule.check(poll)
            self.schedule.advance(poll)
            assert self._process.stdin is not None
            self._process.stdin.write("go on\n")
            self._process.stdin.flush()

    def log(self) -> str:
        """Return the exporter's log."""
        return (self._directory / "exporter.log").read_text()

    def _healthy_is_shown(self) -> bool:
        text = requests.get(f"http://{self.address}/metrics", timeout=30).text
        has_extras = all(
            f"_session_{extra}{{" in text for extra in ("items", "active_duration_seconds")
        )
        return '\nvb365_up{server="healthy"} 1.0\n' in text and has_extras

    def _read_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log()
        report: dict[str, Any] = json.loads(line)
        return report

    def _servers_yaml(self) -> str:
        return f"""
  - name: healthy
    url: {self.healthy.url}
    auth: {{username: {self.healthy.username}, password: {self.healthy.password}}}
    tls_config: {{ca_file: {self.healthy.ca_file}}}
    sessions: {{lookback: 60d, extras: [statistics, events]}}
  - name: faulty
    url: {self.faulty.url}
    auth: {{username: {self.faulty.username}, password_file: {self._directory / "password"}}}
    tls_config: {{ca_file: {self.faulty.ca_file}}}
    timeout: 1s
"""


def _add_sessions(world: World) -> dict[SessionRole, list[str]]:
    """Add running sessions, which are requested by id, and recently finished ones, which are in every list."""
    now = datetime.now(UTC)
    running = [
        world.add_session(type="Vesp", creation_time=now - timedelta(days=days))
        for days in range(3, 3 + _OPEN)
    ]
    recent = [
        world.add_session(
            type=kind,
            creation_time=now - timedelta(minutes=minutes),
            state="Stopped",
            result="Success",
        )
        for kind, minutes in (("Vet", 5), ("Vex", 4), ("Veod", 3))
    ]
    return {SessionRole.OPEN: running, SessionRole.NEW: recent}


@contextmanager
def running_harness(directory: Path, seed: int) -> Iterator[Harness]:
    """Yield a harness with the servers and the exporter running."""
    harness = Harness(directory, seed)
    with harness.running():
        yield harness
