"""A changing world, and a server, its change feed and an exporter that stop and restart at random."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import requests
import trustme

from exporter.simulator import Simulator
from exporter.simulator.api.documents import truth_of
from exporter.simulator.world.world import World
from support.audit_files import all_files, lines_of
from support.expected_metrics import (
    expected_extras,
    expected_samples,
    extra_samples,
    session_samples,
)
from support.exporter_stepped import Samples, Scrape
from support.processes import EXPORTER, clean_environment, free_port
from support.waiting import wait_until

SERVER = "hq"
POLL_SECONDS = 20
_CHANGE_PAUSE_SECONDS = (0.02, 0.4)
_UP_SECONDS = (2.0, 12.0)
_EXPORTER_UP_SECONDS = (2.0, 20.0)
_DOWN_SECONDS = (0.2, 4.0)
# Longer than the feed's retry delay and than two polls.
_SETTLE_SECONDS = 150.0
_FEED_FAULTS = (
    "status_503",
    "status_500",
    "reset_before_body",
    "html",
    "truncated_json",
    "forbidden",
    "silence",
    "change_token_outdated",
)
_RESULTS = ("Success", "Success", "Warning", "Failed")
_ORGANIZATIONS = ("contoso.example", "fabrikam.example", "")
_MAX_OPEN = 40


@dataclass
class Run:
    """One process of the exporter, with the sessions started since its start and since its first poll."""

    process: subprocess.Popen[bytes]
    started_since_start: set[str] = field(default_factory=set)
    started_since_ready: set[str] = field(default_factory=set)
    restored_since_start: int = 0
    """Number of items of the sessions that have finished since its start."""
    ready: bool = False
    followed: bool = False
    """Whether it has connected to the feed."""


class Harness:
    """The server, its feed and the exporter, and the expected state.

    Attributes:
        outages: number of outages of each kind.
        changes: number of changes of the world of each kind.
        ended: result of each finished session by id, including deleted ones.
        begun: ids of all sessions, including deleted ones.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.world = World(sessions=0, organizations=0, activity=False, minimum=False, seed=seed)
        self.outages: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.begun: set[str] = set()
        self.ended: dict[str, str] = {}
        self.audit_file = directory / "audit.log"
        self._directory = directory
        self._random = Random(seed)  # noqa: S311 - reproducible
        self._address = f"127.0.0.1:{free_port()}"
        self._simulator = self._make_simulator()
        self._server_runs = False
        self._feed_fault: str | None = None
        self._open: list[str] = []
        self._run: Run | None = None
        self._log = (directory / "exporter.log").open("wb")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the server and the exporter."""
        try:
            self._simulator.start()
            self._server_runs = True
            self._start_exporter()
            yield
        finally:
            if self._run is not None:
                self._run.process.kill()
                self._run.process.wait()
            self._simulator.close()
            self._log.close()

    def run(self, seconds: float) -> None:
        """Change the world, and stop and restart everything at random, for this time."""
        now = time.monotonic()
        until = now + seconds
        toggles = {self._toggle_feed: now, self._toggle_server: now, self._toggle_exporter: now}
        for toggle in toggles:
            toggles[toggle] += self._random.uniform(*_UP_SECONDS)
        while (now := time.monotonic()) < until:
            self._change()
            for toggle, due in toggles.items():
                if due <= now:
                    is_up = toggle()
                    up = _EXPORTER_UP_SECONDS if toggle == self._toggle_exporter else _UP_SECONDS
                    bounds = up if is_up else _DOWN_SECONDS
                    toggles[toggle] = time.monotonic() + self._random.uniform(*bounds)
            time.sleep(self._random.uniform(*_CHANGE_PAUSE_SECONDS))

    def settle(self) -> Run:
        """Restart everything and wait until the metrics are correct; return the exporter's last run."""
        if self._feed_fault is not None:
            self._toggle_feed()
        if not self._server_runs:
            self._toggle_server()
        if self._run is None:
            self._toggle_exporter()
        assert self._run is not None
        wait_until(lambda: bool(self.scrape()), "the exporter responds", 60)
        expected = expected_samples(self.world, SERVER)
        try:
            wait_until(
                self._is_correct, "the metrics are correct", _SETTLE_SECONDS, pause_seconds=0.5
            )
        except AssertionError:
            scrape = self.scrape()
            assert scrape is not None
            assert session_samples(scrape, SERVER) == expected  # shows the difference
            raise
        return self._run

    def scrape(self) -> Scrape | None:
        """Return a scrape, or None when the exporter is down."""
        try:
            return Scrape(requests.get(f"http://{self._address}/metrics", timeout=30).text)
        except requests.ConnectionError:
            return None

    def stop(self) -> None:
        """Stop the exporter as systemd does, so that it writes pending events."""
        assert self._run is not None
        self._run.process.send_signal(signal.SIGTERM)
        assert self._run.process.wait(60) == 0

    def audit_lines(self) -> list[dict[str, object]]:
        """Return the lines of the audit log."""
        return lines_of(*all_files(self.audit_file))

    # The world

    def _change(self) -> None:
        draw = self._random.random()
        if draw < 0.1:
            self._delete()
        elif not self._open or (draw < 0.45 and len(self._open) < _MAX_OPEN):
            self._begin()
        elif draw < 0.6:
            self.changes["progressed"] += 1
            self.world.change_session(self._random.choice(self._open), items="rrw")
        else:
            self._finish()

    def _begin(self) -> None:
        session_id = self.world.add_session(
            organization=self._random.choice(_ORGANIZATIONS) or None,
            type=self._random.choice(("Vex", "Veod", "Vesp", "Vet")),
            items="rr",
        )
        self.changes["began"] += 1
        self.begun.add(session_id)
        self._open.append(session_id)
        if self._run is not None:
            self._run.started_since_start.add(session_id)
            if self._run.ready:
                self._run.started_since_ready.add(session_id)
            else:
                self._update_run()

    def _finish(self) -> None:
        session_id = self._open.pop(self._random.randrange(len(self._open)))
        result = self._random.choice(_RESULTS)
        self.changes["ended"] += 1
        self.ended[session_id] = result
        self.world.finish(session_id, result)
        session = self.world.session(session_id)
        if self._run is not None and session is not None:
            self._run.restored_since_start += session.statistics["restored"]

    def _delete(self) -> None:
        """Delete a session whose end the exporter has seen.

        A session deleted between the exporter's first list and the start of the feed would be found only by the next full
        list, an hour later.
        """
        self._update_run()
        if self._run is None or not self._run.followed:
            return
        known = [
            str(line["id"])
            for line in map(json.loads, self._whole_lines())
            if line["event"] == "ended" and self.world.session(str(line["id"])) is not None
        ]
        if known:
            self.changes["were deleted"] += 1
            self.world.remove(self._random.choice(known))

    def _whole_lines(self) -> list[str]:
        if not self.audit_file.exists():
            return []
        return self.audit_file.read_text().rpartition("\n")[0].splitlines()

    def _update_run(self) -> None:
        """Update the state of the exporter's run from a scrape."""
        run = self._run
        if run is None or run.followed:
            return
        scrape = self.scrape()
        if scrape is not None:
            successful = "vb365_last_successful_poll_timestamp_seconds"
            run.ready = scrape.value(successful, SERVER) is not None
            run.followed = scrape.value("vb365_change_feed_connected", SERVER) == 1

    def _is_correct(self) -> bool:
        scrape = self.scrape()
        return (
            scrape is not None
            and session_samples(scrape, SERVER) == expected_samples(self.world, SERVER)
            and self._has_correct_extras(extra_samples(scrape, SERVER))
        )

    def _has_correct_extras(self, shown: Samples) -> bool:
        """Whether the extras shown are correct, and those of running sessions complete.

        Those of finished sessions are unknown if the exporter did not see the session finish, or could not request them.
        """
        known = {dict(labels)["session_id"] for _, labels in shown}
        expected = {
            key: pytest.approx(value, abs=1e-6)
            for session in self.world.sessions()
            if not session.stopped or session.id in known
            for key, value in expected_extras(truth_of(session, with_events=True), SERVER).items()
        }
        return shown == expected

    # Each toggle returns whether its part is up now

    def _toggle_feed(self) -> bool:
        if self._feed_fault is not None:
            self._simulator.faults.clear(self._feed_fault)
            self._feed_fault = None
            return True
        self._feed_fault = self._random.choice(_FEED_FAULTS)
        self.outages[f"feed: {self._feed_fault}"] += 1
        self._simulator.faults.set(self._feed_fault, route="change_feed")
        return False

    def _toggle_server(self) -> bool:
        if self._server_runs:
            how = self._random.choice(("refuses connections", "stops"))
            self.outages[f"server: {how}"] += 1
            if how == "stops":
                self._simulator.close()
                self._simulator.tokens.revoke_all(refresh_too=True)
            else:
                self._simulator.faults.set("connection_refused")
        elif any(fault.name == "connection_refused" for fault in self._simulator.faults.active()):
            self._simulator.faults.clear("connection_refused")
        else:
            self._simulator.start()
        self._server_runs = not self._server_runs
        return self._server_runs

    def _toggle_exporter(self) -> bool:
        if self._run is None:
            self._start_exporter()
            return True
        number = self._random.choice((signal.SIGTERM, signal.SIGKILL))
        self.outages[f"exporter: {number.name}"] += 1
        self._run.process.send_signal(number)
        status = self._run.process.wait(60)
        # A signal may arrive before the command has installed its handlers.
        assert status in {0, -number} if number is signal.SIGTERM else status == -number
        self._run = None
        return False

    def _start_exporter(self) -> None:
        command = [
            *(*EXPORTER, f"--config.file={self._directory / 'config.yaml'}"),
            f"--web.listen-address={self._address}",
            f"--audit.log-file={self.audit_file}",
        ]
        process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=clean_environment()
        )
        self._run = Run(process)

    def _make_simulator(self) -> Simulator:
        """Return a server that keeps its certificate and port across restarts."""
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        chain, key = self._directory / "server.crt", self._directory / "server.key"
        leaf.cert_chain_pems[0].write_to_path(chain)
        leaf.private_key_pem.write_to_path(key)
        authority.cert_pem.write_to_path(self._directory / "ca.pem")
        port = free_port()
        (self._directory / "config.yaml").write_text(self._config(port))
        return Simulator(self.world, port=port, cert_file=chain, key_file=key)

    def _config(self, port: int) -> str:
        return f"""
poll_interval: {POLL_SECONDS}s
servers:
  - name: {SERVER}
    url: https://127.0.0.1:{port}
    auth: {{username: demo, password: demo}}
    tls_config: {{ca_file: {self._directory / "ca.pem"}}}
    timeout: 5s
    sessions: {{max_series: 1000000, extras: [statistics, events]}}
"""


@contextmanager
def running_harness(directory: Path, seed: int) -> Iterator[Harness]:
    """Yield a harness with everything running."""
    harness = Harness(directory, seed)
    with harness.running():
        yield harness
