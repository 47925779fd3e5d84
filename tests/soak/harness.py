"""A failing simulated server, and an exporter process that polls it through days of simulated time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from random import Random

import pytest
import requests
from soak.clock import SharedClock
from soak.figures import Figures, TokenRequests
from soak.random_faults import RandomFaults
from soak.random_sessions import LEFT_OPEN, LOOKBACK, RandomSessions, is_expired

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.expected_metrics import (
    expected_samples,
    samples_of,
    session_counters,
    session_samples,
    total_samples,
)
from support.exporter_stepped import Samples, Scrape
from support.processes import clean_environment
from support.standard_error import WITHOUT_STDERR
from support.waiting import wait_until

POLL_SECONDS = 60.0
_MAX_BACKOFF_SECONDS = 900.0
_RESYNC_SECONDS = 3600.0
_SUSPENSION_SECONDS = 3600.0
_SUSPENSION_PROBABILITY = 0.01
_UNPUBLISHED_PROBABILITY = 0.02
_CLOCK_TOLERANCE_SECONDS = 5.0
_PAGE_SIZE = 20
_TIMEOUT = "300ms"
_SETTLED_SECONDS = 0.25  # longer than threads of ended requests take to end

_RESTORED_ITEMS = "vb365_restored_items_total"
_TRANSITIONS = {
    "vb365_restore_sessions_started_total": "started",
    "vb365_restore_sessions_finished_total": "finished",
    "vb365_restore_sessions_finished_duration_seconds_count": "durations",
}

Stderr = Callable[[], AbstractContextManager[int | None]]

MAX_CONNECTIONS = LEFT_OPEN
"""Maximum connections to the server; each poll needs this many."""


class Harness:
    """The server with its failures and sessions, and the exporter.

    Args:
        directory: where to write files.
        seed: makes it reproducible.
        stderr: yields the exporter's standard error, or None for a process without it; by default a file.
        timeout: the `timeout` of the server.

    Attributes:
        is_abused: whether clients occupy the web server, so that a scrape may have to be repeated.
    """

    def __init__(
        self,
        directory: Path,
        seed: int,
        stderr: Stderr | None = None,
        timeout: str = _TIMEOUT,
    ) -> None:
        self.clock = SharedClock(directory / "clock")
        self.world = World(
            sessions=0, organizations=0, activity=False, minimum=False, clock=self.clock.wall
        )
        self.simulator = Simulator(
            self.world, token_clock=self.clock.monotonic, page_cap=_PAGE_SIZE
        )
        self.token_requests = TokenRequests(self.clock)
        self.simulator.traffic.log = self.token_requests
        self.polls = 0
        self.ups = 0
        self.unpublished = 0
        self.faults = RandomFaults(self.simulator, Random(f"{seed}/troubles"))  # noqa: S311 - reproducible
        self._random = Random(f"{seed}/suspensions")  # noqa: S311 - reproducible
        self._sessions = RandomSessions(self.world, Random(f"{seed}/life"), self.clock.wall())  # noqa: S311 - reproducible
        self._unpublished = Random(f"{seed}/unpublished")  # noqa: S311 - reproducible
        self._was_current = True
        self._directory = directory
        self._log = directory / "exporter.log"
        self._stderr = stderr
        self._timeout = timeout
        self.is_abused = False
        self._process: subprocess.Popen[str]
        self._url = ""
        self._http = requests.Session()
        self._http.trust_env = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the server and the exporter."""
        with self.simulator, self._log.open("wb") as log:
            servers = self._directory / "servers.yaml"
            servers.write_text(self._servers_yaml())
            command = [sys.executable, "-m", "soak.exporter", servers, self._directory / "clock"]
            given = nullcontext(log.fileno()) if self._stderr is None else self._stderr()
            with (
                given as stderr,
                subprocess.Popen(
                    [*(() if stderr is not None else WITHOUT_STDERR), *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    cwd=Path(__file__).parents[1],
                    env=clean_environment(),
                ) as self._process,
            ):
                try:
                    self._url = self._read_line()
                    self._scrape()
                    assert self._step()  # what is there at the first poll is not counted
                    yield
                finally:
                    self._http.close()
                    self._process.kill()

    @property
    def address(self) -> str:
        """Host and port of the exporter's web server."""
        return self._url.removeprefix("http://")

    def poll(self) -> None:
        """Let a minute of activity pass, rarely hours of suspension, then poll and scrape.

        Rarely, the result of the poll cannot be published. Then the exporter shows the server as down, and counts nothing
        until the next poll.
        """
        self.clock.pass_time(POLL_SECONDS)
        if self._random.random() < _SUSPENSION_PROBABILITY:
            self.clock.pass_time(_SUSPENSION_SECONDS)
            assert not _is_up(self._scrape())  # all data is stale
        self._sessions.advance(self.clock.wall())
        self.faults.before_poll()
        if self._unpublished.random() < _UNPUBLISHED_PROBABILITY:
            self._fail_to_publish()
            return
        up = self._step()
        self.ups += up
        if self.faults.harmless:
            assert up or not self._was_current, self.log()
            if up:
                self._sessions.mark_seen()
            if self._was_current:  # a server whose clock jumps is read correctly one poll later
                self._check_current()
        self._was_current = up and self.faults.harmless

    def _fail_to_publish(self) -> None:
        """Poll, but publish nothing of it."""
        before = self.counted()
        assert not self._step("break")
        assert self.counted() == before
        self.unpublished += 1
        self._was_current = False

    def _check_current(self) -> None:
        """Check that the exporter shows all running sessions, and those that have just finished, as they are now."""
        shown = self.shown()
        for session in self.world.sessions():
            if not session.stopped or session.id in self._sessions.finished:
                expected = samples_of(session, "hq")
                own = {key: shown.get(key) for key in expected}
                assert own == pytest.approx(expected, abs=1e-6), (self.polls, session, own)

    def recover(self) -> None:
        """End all faults and poll until the exporter has read the full list."""
        self.faults.end()
        self.clock.pass_time(_MAX_BACKOFF_SECONDS)
        wait_until(self._step, "a poll that succeeds")
        self.clock.pass_time(_RESYNC_SECONDS)
        assert self._step()
        assert self._step()  # if the full list lacked many sessions, the next one decides
        while self._any_expires_soon():
            self.clock.pass_time(_CLOCK_TOLERANCE_SECONDS)
            assert self._step()

    def figures(self) -> Figures:
        """Return the exporter's resources once the number of threads is stable."""
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
        """Return the exported samples of the server's sessions, without extras."""
        return session_samples(Scrape(self._scrape()), "hq")

    def restored(self) -> float:
        """Return the number of items that the exporter has added to its total."""
        samples = total_samples(Scrape(self._scrape()), "hq")
        return sum(value for (name, _), value in samples.items() if name == _RESTORED_ITEMS)

    def expected_restored(self) -> int:
        """Return the number of items of all sessions that have finished; the exporter may lack those of faulty responses."""
        return self._sessions.restored

    def expected(self) -> Samples:
        """Return the samples that must be exported."""
        now = self.clock.wall()
        expired = {session.id for session in self.world.sessions() if is_expired(session, now)}
        return expected_samples(self.world, "hq", expired=expired)

    def counted(self) -> Counter[str]:
        """Return the number of sessions that the exporter has counted, by transition; durations are of finished ones."""
        counters = session_counters(Scrape(self._scrape()), "hq")
        counted: Counter[str] = Counter()
        for (name, _), value in counters.items():
            if transition := _TRANSITIONS.get(name):
                counted[transition] += int(value)
        return counted

    def expected_counts(self) -> Counter[str]:
        """Return the number of sessions that the exporter must have counted."""
        finished = self._sessions.transitions["finished"]
        return self._sessions.transitions + Counter(durations=finished)

    def log(self) -> str:
        """Return the exporter's log."""
        return self._log.read_text()

    def unexpected_log_lines(self) -> list[str]:
        """Return the lines of exceptions other than the `MemoryError` of polls that cannot be published."""
        return [
            line
            for line in self.log().splitlines()
            if ("Traceback" in line or "reason=internal" in line) and "MemoryError" not in line
        ]

    def _step(self, command: str = "poll") -> bool:
        """Poll and scrape; return whether the poll succeeded."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._read_line() == "polled"
        self.polls += 1
        return _is_up(self._scrape())

    def _scrape(self) -> str:
        responses: list[requests.Response] = []

        def succeeds() -> bool:
            try:
                responses.append(self._http.get(f"{self._url}/metrics", timeout=30))
            except requests.RequestException:
                if not self.is_abused:
                    raise
                return False
            return responses[-1].status_code == 200

        assert succeeds() or self.is_abused
        if not responses or responses[-1].status_code != 200:
            wait_until(succeeds, "a scrape")
        return responses[-1].content.decode()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, self.log()
        return line

    def _any_expires_soon(self) -> bool:
        """Whether a session is so close to its expiry that clocks may disagree about it."""
        now = self.clock.wall()
        return any(
            abs((session.end_time + LOOKBACK - now).total_seconds()) < _CLOCK_TOLERANCE_SECONDS
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
    timeout: {self._timeout}
    max_concurrent_requests: {MAX_CONNECTIONS}
    sessions: {{lookback: {int(LOOKBACK.total_seconds())}s, extras: [statistics, events]}}
"""


def _is_up(text: str) -> bool:
    up, down = (f'\nvb365_up{{server="hq"}} {value}\n' in text for value in ("1.0", "0.0"))
    assert up != down
    return up


@contextmanager
def soaked(
    directory: Path, seed: int, stderr: Stderr | None = None, timeout: str = _TIMEOUT
) -> Iterator[Harness]:
    """Yield a harness with everything running, and what is there at the first poll already read; arguments as for `Harness`."""
    harness = Harness(directory, seed, stderr, timeout)
    with harness.running():
        yield harness
