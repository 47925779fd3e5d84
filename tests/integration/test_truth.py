"""What extras show, add up to and prove agrees with the simulator's truth, after hundreds of changes and several restarts."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World
from support.expected_metrics import (
    expected_extras,
    expected_totals,
    extra_samples,
    total_samples,
)
from support.exporter_harness import server_yaml
from support.exporter_stepped import MovableClock, Scrape, SteppedExporter, stepped_exporter

LAST_RESTORED = "vb365_restore_sessions_last_restored_timestamp_seconds"
CHANGES = 500
RESTARTS = 3
CHANGES_BETWEEN_POLLS = 10
POLLS_UNTIL_FINAL = 3
RESYNC_SECONDS = 3700.0
ORGANIZATIONS = ("contoso.example", 'Fabrikam, "North"', None)
TYPES = ("Vex", "Veod", "Vesp", "Vet")
RESULTS = ("Success", "Success", "Warning", "Failed")
LETTERS = "rrrowfsc"
FAULTS = ("status_500", "reset_in_body", "truncated_json")


class Story:
    """A server whose sessions change at random, and what its exporter must show.

    Attributes:
        finished: each session that the exporter saw finish since its start, as the truth had it then.
        followed: the ids of the sessions whose extras the exporter has requested.
        returned: the ids of deleted sessions that exist again; their extras are not requested again.
    """

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self.finished: dict[str, Mapping[str, Any]] = {}
        self.followed: set[str] = set()
        self.returned: set[str] = set()
        self._simulator = simulator
        self._world = simulator.world
        self._random = Random(seed)  # noqa: S311 - repeatable
        self._ended: set[str] = set()
        self._deleted: list[Session] = []
        self._polls = 0
        self._seen_at: dict[str, int] = {}

    def truth(self) -> dict[str, Mapping[str, Any]]:
        """Return the sessions that exist, from the truth endpoint."""
        response = requests.get(
            f"{self._simulator.url}/_simulator/truth",
            params={"events": "true"},
            verify=str(self._simulator.ca_file),
            timeout=30,
        )
        return {session["id"]: session for session in response.json()["sessions"]}

    def start(self, exporter: SteppedExporter) -> None:
        """Poll for the first time; what has finished by then does not count."""
        exporter.step()
        sessions = self.truth()
        self._ended = {key for key, session in sessions.items() if session["result"]}
        self.followed = sessions.keys() - self._ended
        self.finished, self._seen_at = {}, {}
        self.returned.clear()
        self._deleted.clear()

    def change(self) -> None:
        """Change a session at random."""
        running = [one.id for one in self._world.sessions() if not one.stopped]
        draw = self._random.random()
        if draw < 0.3 or not running:
            self._world.add_session(
                organization=self._random.choice(ORGANIZATIONS), type=self._random.choice(TYPES)
            )
        elif draw < 0.6:
            self._process_items(self._random.choice(running))
        elif draw < 0.9:
            self._world.finish(self._random.choice(running), self._random.choice(RESULTS))
        elif draw < 0.95:
            self._delete()
        elif self._deleted:
            session = self._deleted.pop()
            self._world.put(session)
            self.returned.add(session.id)

    def _process_items(self, session_id: str) -> None:
        session = self._world.session(session_id)
        assert session is not None
        more = "".join(self._random.choices(LETTERS, k=self._random.randrange(1, 5)))
        in_progress = self._random.choice(("", "a"))
        self._world.change_session(session_id, items=session.items.rstrip("a") + more + in_progress)

    def _delete(self) -> None:
        """Delete a session whose extras the exporter has had time to read."""
        before = self._polls - POLLS_UNTIL_FINAL
        for session_id, seen_at in self._seen_at.items():
            session = self._world.session(session_id)
            if session is not None and seen_at <= before and session_id not in self.returned:
                self._deleted.append(session)
                self._world.remove(session_id)
                return

    def poll(self, exporter: SteppedExporter, seconds: float | None = None) -> Scrape:
        """Poll after some time, and scrape; after a random time, a request for extras sometimes fails."""
        self._polls += 1
        if seconds is None and self._polls % POLLS_UNTIL_FINAL == 0:
            route = self._random.choice(("statistics", "events"))
            self._simulator.faults.set(self._random.choice(FAULTS), route=route, first=1)
        scrape = exporter.step(seconds or self._random.uniform(20, 200))
        self._simulator.faults.clear()
        for key, session in self.truth().items():
            if key not in self._ended:
                self.followed.add(key)
                if session["result"]:
                    self._ended.add(key)
                    self._seen_at[key] = self._polls
                    self.finished[key] = session
        return scrape


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def simulator(clock: MovableClock) -> Iterator[Simulator]:
    world = World(
        sessions=12,
        organizations=2,
        activity=False,
        clock=lambda: datetime.fromtimestamp(clock.timestamp(), UTC),
    )
    with Simulator(world, token_clock=clock.monotonic) as simulator:
        yield simulator


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_extras_totals_and_last_restores_agree_with_the_truth_after_500_changes_and_3_restarts(
    simulator: Simulator, clock: MovableClock
) -> None:
    story = Story(simulator, seed=1)
    extras = "sessions: {extras: [statistics, events]}"
    servers = server_yaml(simulator, extra=extras, change_feed="never")
    for _ in range(1 + RESTARTS):
        with stepped_exporter(servers, clock, "poll_interval: 1m") as exporter:
            story.start(exporter)
            for number in range(CHANGES // (1 + RESTARTS)):
                story.change()
                if number % CHANGES_BETWEEN_POLLS == 0:
                    check_totals(story, story.poll(exporter), final=False)
            for _ in range(POLLS_UNTIL_FINAL):
                scrape = story.poll(exporter, seconds=RESYNC_SECONDS)
            check_extras(story, scrape)
            check_totals(story, scrape, final=True)
            check_last_restored(story, scrape)


def check_extras(story: Story, scrape: Scrape) -> None:
    """Check the extras of each session that was followed, and that no other has any."""
    expected = {
        key: value
        for session_id, session in story.truth().items()
        if session_id in story.followed
        for key, value in expected_extras(session, "hq").items()
    }
    shown = extra_samples(scrape, "hq")
    # The exporter may not have noticed that these sessions were away.
    unsure = {key for key in expected if dict(key[1])["session_id"] in story.returned}
    assert len(expected) > 100
    assert shown == pytest.approx(
        {key: value for key, value in expected.items() if key not in unsure or key in shown},
        abs=1e-6,
    )


def check_totals(story: Story, scrape: Scrape, *, final: bool) -> None:
    """Check that each finished session was added once; if not `final`, some may still be missing."""
    expected = expected_totals(story.finished.values(), "hq")
    shown = total_samples(scrape, "hq")
    if final:
        assert len(expected) > 20
        assert shown == expected
    assert [key for key, value in shown.items() if value > expected.get(key, 0)] == []


def check_last_restored(story: Story, scrape: Scrape) -> None:
    """Check when each organization last proved a restore, by type."""
    truth = story.truth().values()
    by_details = newest_restores(truth, story.followed - story.returned)
    by_extras = newest_restores(truth, story.followed | story.returned)
    shown = {
        (labels["organization"], labels["type"]): value
        for (_, found), value in scrape.of("hq", LAST_RESTORED).items()
        for labels in [dict(found)]
    }
    assert shown.keys() == by_details.keys()
    # Whether extras of sessions that returned are known depends on whether the exporter noticed that they were away.
    for key, value in shown.items():
        assert value in {by_details[key], by_extras.get(key)}, key


def newest_restores(
    sessions: Iterable[Mapping[str, Any]], with_extras: Container[str]
) -> dict[tuple[str, str], float]:
    """Return the newest end of the sessions that prove a restore; of those without extras, details decide."""
    newest: dict[tuple[str, str], float] = {}
    for session in sessions:
        restored = session["statistics"]["restored"]
        items = restored if session["id"] in with_extras else session["processedItems"]
        if session["result"] in {"Success", "Warning"} and items:
            key = (session["organization"] or "", session["type"])
            ended = datetime.fromisoformat(session["endTime"]).timestamp()
            newest[key] = max(ended, newest.get(key, ended))
    return newest
