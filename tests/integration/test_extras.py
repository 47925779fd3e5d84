"""Extras that fail, hang or are slow, over real HTTPS: polls continue as if there were none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import RunningExporter, running_exporter, server_yaml
from support.waiting import wait_until

BOTH = "sessions: {extras: [statistics, events]}"
FAILURES = "vb365_extras_failures_total"
SESSIONS = 20


@pytest.fixture
def world() -> World:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    for _ in range(SESSIONS):
        world.add_session(organization="contoso.example", type="Vex")
    return world


def throttle(simulator: Simulator, route: str) -> None:
    simulator.faults.set("throttled_seconds", route=route, value=900)


def hang(simulator: Simulator, route: str) -> None:
    simulator.faults.set("silence", route=route)


def drip(simulator: Simulator, route: str) -> None:
    simulator.faults.set("one_byte_per_second", route=route)


def failed(exporter: RunningExporter, extra: str) -> float:
    return sum(value for _, value in exporter.samples(FAILURES, extra=extra))


@pytest.mark.slow
@pytest.mark.parametrize(("failing", "other"), [("statistics", "events"), ("events", "statistics")])
@pytest.mark.parametrize("fault", [throttle, hang, drip])
def test_an_extra_that_fails_neither_delays_nor_fails_polls_nor_stops_the_other_extra(
    world: World, fault: Callable[[Simulator, str], None], failing: str, other: str
) -> None:
    with Simulator(world) as simulator:
        fault(simulator, failing)
        servers = server_yaml(simulator, extra=BOTH, change_feed="never")
        # Half of it is enough for the other extra on a slow machine, and the rest for the next poll to be on time.
        with running_exporter(servers, "poll_interval: 4s") as exporter:
            exporter.wait_for(1, "vb365_up")
            wait_until(lambda: (exporter.value("vb365_polls_total") or 0) >= 4, "four polls", 60)
            wait_until(lambda: failed(exporter, failing) > 0, f"failed {failing}")

            assert exporter.value("vb365_up") == 1
            assert exporter.value("vb365_polls_overrun_total") == 0
            assert len(exporter.samples("vb365_restore_session_state", state="Working")) == SESSIONS
            assert failed(exporter, other) == 0
            name = (
                "vb365_restore_session_items"
                if other == "statistics"
                else "vb365_restore_session_events"
            )
            assert exporter.samples(name)
