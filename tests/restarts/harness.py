"""A world that goes on changing, a server, its change feed and an exporter that each break off and come back at random."""

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

import requests
import trustme

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.audit_files import all_files, lines_of
from support.expected_metrics import expected_samples, session_samples
from support.exporter_stepped import Scrape
from support.processes import EXPORTER, clean_environment, free_port
from support.waiting import wait_until

SERVER = "hq"
POLL_SECONDS = 20
_CHANGE_PAUSE_SECONDS = (0.02, 0.4)
_GOOD_SECONDS = (2.0, 12.0)
_LIFE_SECONDS = (2.0, 20.0)
_BAD_SECONDS = (0.2, 4.0)
# Longer than the exporter may wait before it asks for the feed again, and than two polls.
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
_MOST_OPEN = 40


@dataclass
class Life:
    """One process of the exporter: when it was started, which sessions began since, and since its first poll."""

    process: subprocess.Popen[bytes]
    begun_since_start: set[str] = field(default_factory=set)
    begun_since_ready: set[str] = field(default_factory=set)
    ready: bool = False
    followed: bool = False
    """Whether it has followed the feed."""


class Harness:
    """Everything that may break, and what it is compared with.

    Attributes:
        broken: how often what was broken.
        changes: how often the world was changed in which way.
        ended: by session id the result of each session that has ended, deleted ones too.
        begun: the ids of all sessions there ever were.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.world = World(sessions=0, organizations=0, activity=False, minimum=False, seed=seed)
        self.broken: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.begun: set[str] = set()
        self.ended: dict[str, str] = {}
        self.audit_file = directory / "audit.log"
        self._directory = directory
        self._random = Random(seed)  # noqa: S311 - repeatable
        self._address = f"127.0.0.1:{free_port()}"
        self._simulator = self._make_simulator()
        self._server_runs = False
        self._feed_fault: str | None = None
        self._open: list[str] = []
        self._life: Life | None = None
        self._log = (directory / "exporter.log").open("wb")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start server and exporter; whatever happens, they are gone afterwards."""
        try:
            self._simulator.start()
            self._server_runs = True
            self._start_exporter()
            yield
        finally:
            if self._life is not None:
                self._life.process.kill()
                self._life.process.wait()
            self._simulator.close()
            self._log.close()

    def go_on(self, seconds: float) -> None:
        """Change the world, and break and mend everything at random, for so long."""
        now = time.monotonic()
        until = now + seconds
        breaks = {self._turn_feed: now, self._turn_server: now, self._turn_exporter: now}
        for turn in breaks:
            breaks[turn] += self._random.uniform(*_GOOD_SECONDS)
        while (now := time.monotonic()) < until:
            self._change()
            for turn, due in breaks.items():
                if due <= now:
                    good = turn()
                    well = _LIFE_SECONDS if turn == self._turn_exporter else _GOOD_SECONDS
                    bounds = well if good else _BAD_SECONDS
                    breaks[turn] = time.monotonic() + self._random.uniform(*bounds)
            time.sleep(self._random.uniform(*_CHANGE_PAUSE_SECONDS))

    def settle(self) -> Life:
        """Mend everything, and wait until what is shown is what is true; returns the exporter's last life."""
        if self._feed_fault is not None:
            self._turn_feed()
        if not self._server_runs:
            self._turn_server()
        if self._life is None:
            self._turn_exporter()
        assert self._life is not None
        wait_until(lambda: bool(self.scrape()), "the exporter is there", 60)
        truth = expected_samples(self.world, SERVER)
        try:
            wait_until(self._is_true, "the truth is shown", _SETTLE_SECONDS, pause_seconds=0.5)
        except AssertionError:
            scrape = self.scrape()
            assert scrape is not None
            assert session_samples(scrape, SERVER) == truth  # shows what differs
            raise
        return self._life

    def scrape(self) -> Scrape | None:
        """What the exporter shows; None when it is not there."""
        try:
            return Scrape(requests.get(f"http://{self._address}/metrics", timeout=10).text)
        except requests.ConnectionError:
            return None

    def end(self) -> None:
        """End the exporter as systemd does, so that it writes what is left."""
        assert self._life is not None
        self._life.process.send_signal(signal.SIGTERM)
        assert self._life.process.wait(10) == 0

    def audit_lines(self) -> list[dict[str, object]]:
        """What stands in the audit log."""
        return lines_of(*all_files(self.audit_file))

    # The world

    def _change(self) -> None:
        draw = self._random.random()
        if draw < 0.1:
            self._delete()
        elif not self._open or (draw < 0.45 and len(self._open) < _MOST_OPEN):
            self._begin()
        elif draw < 0.6:
            self.changes["went on"] += 1
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
        if self._life is not None:
            self._life.begun_since_start.add(session_id)
            if self._life.ready:
                self._life.begun_since_ready.add(session_id)
            else:
                self._look()

    def _finish(self) -> None:
        session_id = self._open.pop(self._random.randrange(len(self._open)))
        result = self._random.choice(_RESULTS)
        self.changes["ended"] += 1
        self.ended[session_id] = result
        self.world.finish(session_id, result)

    def _delete(self) -> None:
        """Delete a session that the exporter knows to have ended.

        What is deleted between an exporter's first list and the feed's beginning, it finds by the next walk, in an hour.
        """
        self._look()
        if self._life is None or not self._life.followed:
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

    def _look(self) -> None:
        """See how far the exporter has got."""
        life = self._life
        if life is None or life.followed:
            return
        scrape = self.scrape()
        if scrape is not None:
            successful = "vb365_last_successful_poll_timestamp_seconds"
            life.ready = scrape.value(successful, SERVER) is not None
            life.followed = scrape.value("vb365_change_feed_connected", SERVER) == 1

    def _is_true(self) -> bool:
        scrape = self.scrape()
        return scrape is not None and session_samples(scrape, SERVER) == expected_samples(
            self.world, SERVER
        )

    # What breaks; each returns whether it is well now

    def _turn_feed(self) -> bool:
        if self._feed_fault is not None:
            self._simulator.faults.clear(self._feed_fault)
            self._feed_fault = None
            return True
        self._feed_fault = self._random.choice(_FEED_FAULTS)
        self.broken[f"feed: {self._feed_fault}"] += 1
        self._simulator.faults.set(self._feed_fault, route="change_feed")
        return False

    def _turn_server(self) -> bool:
        if self._server_runs:
            how = self._random.choice(("refuses connections", "stops"))
            self.broken[f"server: {how}"] += 1
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

    def _turn_exporter(self) -> bool:
        if self._life is None:
            self._start_exporter()
            return True
        number = self._random.choice((signal.SIGTERM, signal.SIGKILL))
        self.broken[f"exporter: {number.name}"] += 1
        self._life.process.send_signal(number)
        status = self._life.process.wait(10)
        # A signal may come before the command is ready to take it.
        assert status in {0, -number} if number is signal.SIGTERM else status == -number
        self._life = None
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
        self._life = Life(process)

    def _make_simulator(self) -> Simulator:
        """A server that shows the same certificate at the same place, however often it is started."""
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        chain, key = self._directory / "server.crt", self._directory / "server.key"
        leaf.cert_chain_pems[0].write_to_path(chain)
        leaf.private_key_pem.write_to_path(key)
        authority.cert_pem.write_to_path(self._directory / "ca.pem")
        simulator = Simulator(self.world, port=free_port(), cert_file=chain, key_file=key)
        (self._directory / "config.yaml").write_text(self._config(simulator._address[1]))
        return simulator

    def _config(self, port: int) -> str:
        return f"""
poll_interval: {POLL_SECONDS}s
servers:
  - name: {SERVER}
    url: https://127.0.0.1:{port}
    auth: {{username: demo, password: demo}}
    tls_config: {{ca_file: {self._directory / "ca.pem"}}}
    timeout: 5s
    sessions: {{max_series: 1000000}}
"""


@contextmanager
def running_bench(directory: Path, seed: int) -> Iterator[Harness]:
    """A harness with everything in it running."""
    harness = Harness(directory, seed)
    with harness.running():
        yield harness
