"""Restore evidence against the truth endpoint, while sessions change at random and the exporter restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml
from support.exporter_stepped import MovableClock, Scrape, SteppedExporter, stepped_exporter

pytestmark = pytest.mark.slow

SEED = 1
CHANGES = 500
CHANGES_PER_POLL = 5
POLLS_PER_CHECK = 10
RESTARTS = 3
POLL_SECONDS = 60.0
HOUR_SECONDS = 3600.0
TYPES = ("Vex", "Veod", "Vesp", "Vet")
# A failed session may have restored items, and a successful one may have restored none.
ENDINGS = (
    ("Success", "orr"),
    ("Success", "r"),
    ("Success", "oo"),
    ("Success", ""),
    ("Warning", "rwf"),
    ("Failed", "rrf"),
    ("Failed", "fc"),
)
LAST_RESTORED = "vb365_restore_sessions_last_restored_timestamp_seconds"
STOPPED = "vb365_restore_sessions_stopped"
SETTINGS = "sessions: {{lookback: 3h, extras: [{extras}]}}"
EXTRAS = (), ("statistics", "events")

Group = tuple[str, str]


@dataclass
class RandomSessions:
    """Sessions that start, end and are deleted at random, some of them long after they were opened.

    Attributes:
        changes: the number of changes of each kind.
    """

    world: World
    random: Random = field(default_factory=lambda: Random(SEED))  # noqa: S311 - reproducible
    changes: Counter[str] = field(default_factory=Counter)

    def change(self) -> None:
        """Make one change."""
        sessions = self.world.sessions()
        running = [one.id for one in sessions if not one.stopped]
        finished = [one.id for one in sessions if one.stopped]
        draw = self.random.random()
        if draw < 0.1 and len(finished) > 60:
            self.changes["deleted"] += 1
            self.world.remove(self.random.choice(finished))
        elif draw < 0.5 or not running:
            self.changes["started"] += 1
            self._start()
        else:
            self.changes["finished"] += 1
            result, items = self.random.choice(ENDINGS)
            self.world.change_session(
                self.random.choice(running), state="Stopped", result=result, items=items
            )

    def _start(self) -> None:
        names = [one.session_name for one in self.world.organizations[:-1]]
        self.world.add_session(
            organization=self.random.choice([*names, None]), type=self.random.choice(TYPES)
        )


@dataclass
class Bench:
    """A simulated server and an exporter on the same clock."""

    simulator: Simulator
    exporter: SteppedExporter

    def check(self, seconds: float = POLL_SECONDS) -> None:
        """Poll, and compare what the exporter shows with the truth endpoint."""
        scrape = self.exporter.step(seconds)
        truth = self.truth()
        assert scrape.value("vb365_up", "hq") == 1
        assert last_restored(scrape) == pytest.approx(
            expected_last_restored(truth["sessions"]), rel=0, abs=1e-6
        )
        assert organizations(scrape) >= set(truth["organizations"])
        assert scrape.value("vb365_sessions_listed", "hq") == len(truth["sessions"])

    def truth(self) -> dict[str, Any]:
        """Return what the truth endpoint says."""
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.simulator.ca_file)
            response = session.get(f"{self.simulator.url}/_simulator/truth", timeout=60)
        document: dict[str, Any] = response.json()
        return document


def last_restored(scrape: Scrape) -> Mapping[Group, float]:
    return {
        (dict(labels)["organization"], dict(labels)["type"]): value
        for (_, labels), value in scrape.of("hq", LAST_RESTORED).items()
    }


def organizations(scrape: Scrape) -> set[str]:
    """Return the organizations that have all of their zeros."""
    series = Counter(dict(labels)["organization"] for _, labels in scrape.of("hq", STOPPED))
    return {organization for organization, number in series.items() if number == 12}


def expected_last_restored(sessions: Sequence[Mapping[str, Any]]) -> Mapping[Group, float]:
    newest: dict[Group, float] = {}
    for session in sessions:
        if session["result"] in {"Success", "Warning"} and session["statistics"]["restored"]:
            group = (session["organization"] or "", session["type"])
            ended = datetime.fromisoformat(session["endTime"]).timestamp()
            newest[group] = max(ended, newest.get(group, ended))
    return newest


@contextmanager
def bench(simulator: Simulator, clock: MovableClock, extras: Sequence[str]) -> Iterator[Bench]:
    """Run an exporter that has not polled yet."""
    servers = server_yaml(
        simulator, extra=SETTINGS.format(extras=", ".join(extras)), change_feed="never"
    )
    with stepped_exporter(servers, clock, top=f"poll_interval: {POLL_SECONDS:.0f}s") as exporter:
        yield Bench(simulator, exporter)


@pytest.mark.parametrize("extras", EXTRAS, ids=["details", "extras"])
def test_evidence_agrees_with_the_truth_after_500_changes_and_3_restarts(
    extras: tuple[str, ...],
) -> None:
    clock = MovableClock()
    world = World(
        seed=SEED,
        organizations=3,
        sessions=60,
        activity=False,
        clock=lambda: datetime.fromtimestamp(clock.timestamp(), UTC),
    )
    sessions = RandomSessions(world)
    with Simulator(world) as simulator:
        for _ in range(RESTARTS + 1):
            with bench(simulator, clock, extras) as running:
                running.check()
                for poll in range(1, CHANGES // CHANGES_PER_POLL // (RESTARTS + 1) + 1):
                    for _ in range(CHANGES_PER_POLL):
                        sessions.change()
                    if poll % POLLS_PER_CHECK:
                        running.exporter.step(POLL_SECONDS)
                    else:
                        running.check(HOUR_SECONDS)
                running.check(HOUR_SECONDS)
            sessions.change()  # while the exporter is down

    assert sessions.changes.total() >= CHANGES
    assert min(sessions.changes.values()) > CHANGES // 20
    oldest = min(one.creation_time for one in world.sessions())
    assert datetime.fromtimestamp(clock.timestamp(), UTC) - oldest > timedelta(hours=3)
