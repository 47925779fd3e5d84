"""Two simulated servers, one of them in one trouble after the other, an exporter in its own process, and a real Prometheus."""

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
from chaos.trials import Poll, Trials

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import wait_until
from support.failure_catalogue import Whose
from support.processes import clean_environment

SCRAPE_SECONDS = 2
_OPEN = 4
_HEALTHY_SESSIONS = 20


class Harness:
    """The servers `healthy` and `faulty`, and the exporter that polls both.

    Attributes:
        polls: of the faulty server, in order.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.healthy = Simulator(
            World(sessions=_HEALTHY_SESSIONS, organizations=3, activity=False, seed=seed)
        )
        world = World(sessions=0, organizations=0, activity=False, minimum=False, seed=seed + 1)
        self.faulty = Simulator(world, token_throttle=True)
        self.polls: list[Poll] = []
        self.address = ""
        """Where the exporter's web server is."""
        password_file = directory / "password"
        password_file.write_text(self.faulty.password)
        self.trials = Trials(self.faulty, _add_sessions(world), password_file, Random(seed))  # noqa: S311 - repeatable
        self._directory = directory
        self._process: subprocess.Popen[str]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; goes on when the healthy server has been polled once."""
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
                    self.address = self._heard()["address"]
                    wait_until(self._healthy_is_shown, "the first poll of the healthy server")
                    yield
                finally:
                    self._process.kill()

    def go_on(self, seconds: float) -> None:
        """Let the faulty server go from trouble to trouble for so long, and judge each poll of it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = self._heard()
            poll = Poll(
                began=told["ended"] - told["seconds"], ended=told["ended"], reason=told["reason"]
            )
            assert told["up"] == (poll.reason is None)
            self.polls.append(poll)
            self.trials.judge(poll)
            self.trials.go_on(poll)
            assert self._process.stdin is not None
            self._process.stdin.write("go on\n")
            self._process.stdin.flush()

    def log(self) -> str:
        """What the exporter has logged."""
        return (self._directory / "exporter.log").read_text()

    def _healthy_is_shown(self) -> bool:
        text = requests.get(f"http://{self.address}/metrics", timeout=10).text
        return '\nvb365_up{server="healthy"} 1.0\n' in text

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log()
        told: dict[str, Any] = json.loads(line)
        return told

    def _servers_yaml(self) -> str:
        return f"""
  - name: healthy
    url: {self.healthy.url}
    auth: {{username: {self.healthy.username}, password: {self.healthy.password}}}
    tls_config: {{ca_file: {self.healthy.ca_file}}}
    sessions: {{lookback: 60d}}
  - name: faulty
    url: {self.faulty.url}
    auth: {{username: {self.faulty.username}, password_file: {self._directory / "password"}}}
    tls_config: {{ca_file: {self.faulty.ca_file}}}
    timeout: 1s
"""


def _add_sessions(world: World) -> dict[Whose, list[str]]:
    """Sessions that run, which are asked for by id, and sessions that were open not long ago, which every list has."""
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
    return {Whose.OPEN: running, Whose.NEW: recent}


@contextmanager
def running_bench(directory: Path, seed: int) -> Iterator[Harness]:
    """A harness with everything in it running, but Prometheus."""
    harness = Harness(directory, seed)
    with harness.running():
        yield harness
