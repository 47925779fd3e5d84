"""Lists of a server that changes while they are read, whose clock was wrong, or that never end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_fast_polling import Watched, sessions, watched
from support.exporter_harness import server_yaml
from support.fake_clocks import SystemClocks
from support.ledger_harness import DAY_SECONDS
from support.waiting import wait_until

PAGE_CAP = 30
FINISHED = 200


@pytest.fixture
def world() -> World:
    return World(sessions=FINISHED, activity=False)


@pytest.fixture
def simulator(world: World) -> Iterator[Simulator]:
    with Simulator(world, page_cap=PAGE_CAP) as simulator:
        yield simulator


@contextmanager
def polled(simulator: Simulator, *, clock: SystemClocks | None = None) -> Iterator[Watched]:
    """Yield an exporter that has polled the server."""
    server = server_yaml(simulator, change_feed="never", extra="sessions: {lookback: 90d}")
    with watched(server, clock=clock.clock() if clock else None) as exporter:
        wait_until(lambda: has_polled(exporter), "a poll")
        yield exporter


def has_polled(exporter: Watched) -> bool:
    """Return whether the result of a poll is published."""
    return any(line.startswith("vb365_up") for line in exporter.lines("hq"))


def shown_ids(exporter: Watched) -> set[str]:
    """Return the ids of the sessions that have series."""
    return {
        line.partition('session_id="')[2].partition('"')[0]
        for line in sessions(exporter.lines("hq"))
    }


def true_ids(world: World) -> set[str]:
    return {session.id for session in world.sessions()}


@pytest.mark.parametrize("rows", [1, 2])
def test_no_session_is_missed_while_rows_shift(
    simulator: Simulator, world: World, rows: int
) -> None:
    simulator.faults.set("rows_shift", value=rows)

    with polled(simulator) as exporter:
        assert exporter.up("hq")
        assert shown_ids(exporter) == true_ids(world)


def test_pages_that_begin_earlier_although_no_session_began_make_the_server_down(
    simulator: Simulator,
) -> None:
    simulator.faults.set("rows_shift", value=-1)

    with polled(simulator) as exporter:
        assert not exporter.up("hq")
        assert exporter.value('vb365_poll_failures_total{reason="bad_response",server="hq"}') > 0


def test_a_list_whose_pages_have_different_orders_is_read_as_one_page(world: World) -> None:
    with Simulator(world) as simulator:
        simulator.faults.set("shuffled_pages")
        for number in range(1000):
            world.add_session(
                creation_time=datetime.now(UTC) - timedelta(hours=number),
                state="Stopped",
                result="Success",
            )

        with polled(simulator) as exporter:
            assert exporter.up("hq")
            assert exporter.value('vb365_sessions_known{server="hq"}') == len(true_ids(world))


def test_pages_in_different_orders_that_cannot_be_one_page_make_the_server_down(
    simulator: Simulator,
) -> None:
    simulator.faults.set("shuffled_pages")

    with polled(simulator) as exporter:
        assert not exporter.up("hq")
        assert exporter.value('vb365_poll_failures_total{reason="bad_response",server="hq"}') > 0


@pytest.mark.parametrize("version", ["v6", "v7", "v8"])
def test_a_session_from_the_future_hides_no_new_session(world: World, version: str) -> None:
    wrong = world.add_session(creation_time=datetime.now(UTC) + timedelta(days=30))
    with Simulator(world, api_versions=(version,)) as simulator, polled(simulator) as exporter:
        assert wrong in shown_ids(exporter)

        new = world.add_session()
        wait_until(lambda: new in shown_ids(exporter), "the new session")
        ahead = exporter.value('vb365_unknown_values_total{field="creation_time",server="hq"}')
        assert ahead >= 2


def test_next_links_under_another_name_are_followed(simulator: Simulator, world: World) -> None:
    simulator.faults.set("next_to_other_host", target="https://internal.example.com:9191")

    with polled(simulator) as exporter:
        assert exporter.up("hq")
        assert shown_ids(exporter) == true_ids(world)


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_was_wrong_at_the_start_decides_nothing(
    simulator: Simulator, world: World, days: int
) -> None:
    system = SystemClocks(running=True)
    system.set_seconds = days * DAY_SECONDS

    with polled(simulator, clock=system) as exporter:
        assert shown_ids(exporter) == true_ids(world)
        system.set_seconds = 0.0
        exporter.wait_for_polls("hq", 2)
        assert shown_ids(exporter) == true_ids(world)


@pytest.mark.slow
def test_an_endless_list_is_cut_and_what_does_not_fit_is_counted(simulator: Simulator) -> None:
    simulator.faults.set("endless_sessions", value=50_000)
    server = server_yaml(
        simulator, change_feed="never", extra="sessions: {max_sessions: 100, lookback: 90d}"
    )

    with watched(server) as exporter:
        wait_until(lambda: has_polled(exporter), "a poll", 120)
        assert exporter.up("hq")
        assert exporter.value('vb365_sessions_known{server="hq"}') == 100
        assert exporter.value('vb365_sessions_not_kept{server="hq"}') >= 199_900 - 100
