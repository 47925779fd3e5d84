"""Jumps of the system clocks under a running exporter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_fast_polling import sessions, watched
from support.exporter_harness import server_yaml
from support.fake_clocks import SystemClocks
from support.ledger_harness import DAY_SECONDS
from support.waiting import wait_until

LAST_POLL = 'vb365_last_poll_timestamp_seconds{server="hq"}'
WORKING = "vb365_restore_sessions_working"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(World(activity=False)) as simulator:
        yield simulator


@pytest.fixture
def system() -> SystemClocks:
    return SystemClocks(running=True)


def test_a_wall_clock_set_by_a_day_changes_only_the_timestamps_of_polls(
    simulator: Simulator, system: SystemClocks
) -> None:
    with watched(server_yaml(simulator, change_feed="never"), clock=system.clock()) as exporter:
        wait_until(lambda: exporter.up("hq"), "a poll")
        before = exporter.lines("hq")
        assert sessions(before)

        for seconds in (DAY_SECONDS, -DAY_SECONDS):
            system.set_seconds = seconds
            exporter.wait_for_polls("hq", 3)

            assert exporter.lines("hq") == before
            assert abs(system.time() - exporter.value(LAST_POLL)) < DAY_SECONDS / 2


def test_stale_data_returns_with_the_server_and_not_with_the_clock(
    simulator: Simulator, system: SystemClocks
) -> None:
    with watched(server_yaml(simulator, change_feed="never"), clock=system.clock()) as exporter:
        wait_until(lambda: exporter.up("hq"), "a poll")
        before = exporter.lines("hq")
        assert sessions(before)
        simulator.faults.set("connection_refused")
        wait_until(lambda: not exporter.up("hq"), "a failed poll")

        system.set_seconds = DAY_SECONDS
        assert sessions(exporter.lines("hq")) == sessions(before)
        system.passed_seconds = 180.0
        system.set_seconds = -DAY_SECONDS
        stale = exporter.lines("hq")
        assert sessions(stale) == []
        assert not any(line.startswith(WORKING) for line in stale)

        simulator.faults.clear()
        wait_until(lambda: sessions(exporter.lines("hq")) == sessions(before), "its return")
