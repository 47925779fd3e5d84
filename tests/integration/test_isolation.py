"""A failing server does not delay, change or remove the series of another server or of other sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from exporter.simulator import Simulator
from exporter.simulator.faults.catalogue import CATALOGUE
from exporter.simulator.world.world import World
from support.exporter_fast_polling import POLL_SECONDS, sessions, watched
from support.exporter_harness import server_yaml
from support.fake_clocks import SystemClocks
from support.waiting import wait_until


@pytest.fixture(scope="module")
def good_world() -> World:
    return World(activity=False)


@pytest.fixture(scope="module")
def bad_world() -> World:
    return World(activity=False, seed=2)


# Each test has simulators on ports of their own: the process limits logins per server.
@pytest.fixture
def good(good_world: World) -> Iterator[Simulator]:
    with Simulator(good_world) as simulator:
        yield simulator


@pytest.fixture
def bad(bad_world: World) -> Iterator[Simulator]:
    with Simulator(bad_world) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def undisturbed(good_world: World) -> list[str]:
    """The samples of the good server when there is no other."""
    with (
        Simulator(good_world) as simulator,
        watched(server_yaml(simulator, "good", change_feed="never")) as exporter,
    ):
        wait_until(lambda: exporter.up("good"), "a poll")
        return exporter.lines("good")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, fault in CATALOGUE.items() if fault.route != "change_feed"]
)
def test_a_server_in_any_state_does_not_affect_the_other(
    good: Simulator, bad: Simulator, undisturbed: list[str], name: str
) -> None:
    extras = "sessions: {extras: [events]}"
    with watched(
        server_yaml(good, "good", change_feed="never"),
        server_yaml(bad, "bad", extras, change_feed="never"),
    ) as exporter:
        wait_until(lambda: exporter.up("good") and exporter.up("bad"), "a poll of both")

        with trouble(bad, name) as begun:
            wait_until(begun, f"{name} strikes")
            polls = exporter.polls("good")

            def two_more_polls() -> bool:
                assert exporter.lines("good") == undisturbed
                return exporter.polls("good") >= polls + 2

            wait_until(two_more_polls, "two more polls of the good server")


@contextmanager
def trouble(simulator: Simulator, name: str) -> Iterator[Callable[[], bool]]:
    """Bring a server into a state; gives whether anybody has met it."""
    definition = CATALOGUE[name]
    hits = simulator.faults.hits[name]
    simulator.faults.set(name)
    if definition.route == "token":
        simulator.tokens.revoke_all(refresh_too=definition.grant_type != "refresh_token")
    # Nobody gets so far as to be counted where nobody listens.
    try:
        yield lambda: name == "connection_refused" or simulator.faults.hits[name] > hits
    finally:
        simulator.faults.clear()


def test_polls_of_a_slow_server_follow_each_other_and_the_overrun_is_counted_and_logged_once(
    good: Simulator,
) -> None:
    with (
        capture_logs() as log,
        Simulator(World(activity=False), latency=2 * POLL_SECONDS) as slow,
        watched(
            server_yaml(good, "good", change_feed="never"),
            server_yaml(slow, "slow", change_feed="never"),
        ) as exporter,
    ):
        wait_until(lambda: exporter.polls("slow") >= 5, "five polls")
        wait_until(
            lambda: exporter.value('vb365_polls_overrun_total{server="slow"}') >= 4, "four overruns"
        )
        slow_polls, good_polls = map(exporter.polls, ("slow", "good"))
        requests = [
            "list" if "startTimeFrom" in line else "get"
            for line in list(slow.traffic.log)
            if "startTimeFrom" in line or "/RestoreSessions/" in line
        ]

    assert len(requests) >= 10
    assert slow_polls < good_polls
    # Each poll after the first requests new sessions and then the two open ones.
    assert requests == (["list", "get", "get"] * len(requests))[: len(requests)]
    overruns = [entry for entry in log if "took longer than the poll" in entry["event"]]
    assert sum(entry["server"] == "slow" for entry in overruns) == 1


def test_a_session_whose_requests_fail_expires_alone_and_returns(
    good: Simulator, bad: Simulator, undisturbed: list[str]
) -> None:
    system = SystemClocks(running=True)
    with watched(
        server_yaml(good, "good", change_feed="never"),
        server_yaml(bad, "bad", change_feed="never"),
        clock=system.clock(),
    ) as exporter:
        wait_until(lambda: exporter.up("good") and exporter.up("bad"), "a poll of both")
        before = sessions(exporter.lines("bad"))
        lost, kept = sorted(running(exporter.lines("bad")))
        others = [line for line in before if lost not in line]

        bad.faults.set("status_503", route="get", session_id=lost)
        try:
            wait_until(lambda: not exporter.up("bad"), "a failed poll")
            shown = []
            # Three minutes: the others are confirmed several times before their data would be stale.
            for _ in range(3):
                system.passed_seconds += 60.0
                for name in ("good", "bad"):
                    exporter.wait_for_polls(name, 2)
                lines = exporter.lines("bad")
                assert [line for line in sessions(lines) if lost not in line] == others
                assert exporter.lines("good") == undisturbed
                shown.append(running(lines))

            assert shown[0] == {kept, lost}
            assert shown[-1] == {kept}
            assert sessions(exporter.lines("bad")) == others
        finally:
            bad.faults.clear()
        wait_until(lambda: before == sessions(exporter.lines("bad")), "its return")


def running(lines: list[str]) -> set[str]:
    """The ids of the sessions that run."""
    working = [line for line in lines if 'state="Working"' in line and line.endswith(" 1.0")]
    return {line.partition('session_id="')[2].partition('"')[0] for line in working}
