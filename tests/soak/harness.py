"""A simulated server in trouble, and an exporter in a process of its own that polls it through days of made-up time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import requests
from soak.clock import SharedClock
from soak.life import LEFT_OPEN, LOOKBACK, Life, has_left
from soak.troubles import Troubles

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.expected_metrics import expected_samples, session_samples
from support.exporter_stepped import Samples, Scrape
from support.processes import clean_environment
from support.waiting import wait_until

POLL_SECONDS = 60.0
_LONGEST_HOLD_SECONDS = 900.0
_WALK_SECONDS = 3600.0
_CLOSE_SECONDS = 5.0
_TIMEOUT = "300ms"
_SETTLED_SECONDS = 0.05

MOST_CONNECTIONS = LEFT_OPEN
"""How many connections to the server there may be, and how many threads that use them; each poll needs so many."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the exporter's process has at one moment."""

    polls: int
    successes: int
    resident_mib: float
    threads: int
    descriptors: int


@dataclass
class TokenRequests(deque[str]):
    """The simulator's log of requests, which remembers when a token was asked for."""

    clock: SharedClock
    moments: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(maxlen=1)

    def append(self, line: str) -> None:
        """Take in a request."""
        if line.startswith("POST ") and line.endswith("/token"):
            self.moments.append(self.clock.monotonic())
        super().append(line)

    def most_within(self, seconds: float) -> int:
        """The most that arrived in so long a time."""
        most = first = 0
        for last, moment in enumerate(self.moments):
            while moment - self.moments[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


class Harness:
    """The server, what happens to it, and the exporter."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.clock = SharedClock(directory / "clock")
        self.world = World(
            sessions=0, organizations=0, activity=False, minimum=False, clock=self.clock.wall
        )
        self.simulator = Simulator(self.world, token_clock=self.clock.monotonic)
        self.token_requests = TokenRequests(self.clock)
        self.simulator.traffic.log = self.token_requests
        self.polls = 0
        self.ups = 0
        self.logins = 0
        """How often the right password was sent."""
        self.troubles = Troubles(self.simulator, Random(f"{seed}/troubles"))  # noqa: S311 - repeatable
        self._life = Life(self.world, Random(f"{seed}/life"), self.clock.wall())  # noqa: S311 - repeatable
        self._directory = directory
        self._process: subprocess.Popen[str]
        self._url = ""
        self._http = requests.Session()
        self._http.trust_env = False
        self._count_logins()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the server and the exporter; whatever happens, both are gone afterwards."""
        with self.simulator, (self._directory / "exporter.log").open("wb") as log:
            servers = self._directory / "servers.yaml"
            servers.write_text(self._servers_yaml())
            with subprocess.Popen(
                [sys.executable, "-m", "soak.exporter", servers, self._directory / "clock"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=Path(__file__).parents[1],
                env=clean_environment(),
            ) as self._process:
                try:
                    self._url = self._heard()
                    self._scrape()
                    yield
                finally:
                    self._http.close()
                    self._process.kill()

    def poll(self) -> None:
        """Let a minute pass in which things happen, and the exporter poll and be scraped."""
        self.clock.pass_time(POLL_SECONDS)
        self._life.go_on(self.clock.wall())
        self.troubles.before_poll()
        self.ups += self._step()

    def recover(self) -> None:
        """Let the server be well until the exporter has seen everything there is."""
        self.troubles.end()
        self.clock.pass_time(_LONGEST_HOLD_SECONDS)
        wait_until(self._step, "a poll that succeeds")
        self.clock.pass_time(_WALK_SECONDS)
        assert self._step()
        while self._some_leave_soon():
            self.clock.pass_time(_CLOSE_SECONDS)
            assert self._step()

    def figures(self) -> Figures:
        """What the exporter has now, when nothing of it is about to end any more."""
        before, now = None, self._figures()
        while before is None or before.threads != now.threads:
            time.sleep(_SETTLED_SECONDS)
            before, now = now, self._figures()
        return now

    def _figures(self) -> Figures:
        proc = Path(f"/proc/{self._process.pid}")
        status = (proc / "status").read_text(encoding="ascii")
        resident_kib, threads = (
            int(found[1])
            for name in ("VmRSS", "Threads")
            if (found := re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE))
        )
        return Figures(
            polls=self.polls,
            successes=self.ups,
            resident_mib=resident_kib / 1024,
            threads=threads,
            descriptors=len(list((proc / "fd").iterdir())),
        )

    def shown(self) -> Samples:
        """What is said of the server's sessions."""
        return session_samples(Scrape(self._scrape()), "hq")

    def truth(self) -> Samples:
        """What is to be said of them."""
        now = self.clock.wall()
        gone = {session.id for session in self.world.sessions() if has_left(session, now)}
        return expected_samples(self.world, "hq", gone)

    def log(self) -> str:
        """What the exporter has logged."""
        return (self._directory / "exporter.log").read_text()

    def _step(self) -> bool:
        """Poll and scrape; whether the poll got everything."""
        assert self._process.stdin is not None
        self._process.stdin.write("poll\n")
        self._process.stdin.flush()
        assert self._heard() == "polled"
        self.polls += 1
        text = self._scrape()
        up, down = (f'\nvb365_up{{server="hq"}} {value}\n' in text for value in ("1.0", "0.0"))
        assert up != down
        return up

    def _scrape(self) -> str:
        answer = self._http.get(f"{self._url}/metrics", timeout=30)
        assert answer.status_code == 200
        return answer.content.decode()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, self.log()
        return line

    def _some_leave_soon(self) -> bool:
        """Whether the exporter's clock and the truth's may well disagree on what has left already."""
        now = self.clock.wall()
        return any(
            abs((session.end_time + LOOKBACK - now).total_seconds()) < _CLOSE_SECONDS
            for session in self.world.sessions()
            if session.end_time is not None
        )

    def _servers_yaml(self) -> str:
        simulator = self.simulator
        return f"""
  - name: hq
    url: {simulator.url}
    auth: {{username: {simulator.username}, password: {simulator.password}}}
    tls_config: {{ca_file: {simulator.ca_file}}}
    timeout: {_TIMEOUT}
    max_concurrent_requests: {MOST_CONNECTIONS}
    sessions: {{lookback: {int(LOOKBACK.total_seconds())}s}}
"""

    def _count_logins(self) -> None:
        log_in = self.simulator.tokens.log_in

        def counted(*arguments: str, **keywords: object) -> object:
            self.logins += 1
            return log_in(*arguments, **keywords)  # type: ignore[arg-type]  # as it was called

        self.simulator.tokens.log_in = counted  # type: ignore[method-assign,assignment]  # counts


@contextmanager
def soaked(directory: Path, seed: int) -> Iterator[Harness]:
    """A harness with everything in it running, and nothing polled yet."""
    harness = Harness(directory, seed)
    with harness.running():
        yield harness
