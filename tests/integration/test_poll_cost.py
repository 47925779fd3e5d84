"""The requests of a poll, counted by a simulated VB365 over real HTTPS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.config import parse_config
from exporter.polling.clock import Clock
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml
from support.exporter_stepped import MovableClock
from support.single_poller import PolledServer, polled_server


@contextmanager
def polled(
    world: World, sessions: str = "lookback: 60d", clock: Clock | None = None
) -> Iterator[PolledServer]:
    """A poller of a simulated server with this world."""
    with Simulator(world) as simulator:
        servers = server_yaml(simulator, extra=f"sessions: {{{sessions}}}")
        config = parse_config(f"servers:{servers}", directory=Path.cwd())
        with polled_server(config.servers[0], clock) as server:
            yield server


def world_of(history: int) -> World:
    return World(sessions=history, activity=False, minimum=False)


def leave_open(world: World, number: int, *, hours: float) -> list[str]:
    """Add sessions that were opened, one a second, so many hours ago and still run."""
    opened = datetime.now(UTC) - timedelta(hours=hours)
    return [
        world.add_session(creation_time=opened + timedelta(seconds=second))
        for second in range(number)
    ]


def finish_new(world: World, number: int) -> None:
    """Add sessions that were opened and closed just now."""
    now = datetime.now(UTC)
    for _ in range(number):
        world.add_session(creation_time=now, end_time=now, state="Stopped", result="Success")


@pytest.mark.parametrize("history", [0, 300, 20_000])
def test_a_poll_is_one_list_and_a_get_for_each_running_session_whatever_the_history(
    history: int,
) -> None:
    world = world_of(history)
    leave_open(world, 5, hours=30)
    finish_new(world, 1)
    with polled(world) as server:
        known = server.poll().sessions_known
        server.requests()

        again = [server.poll().sessions_known for _ in range(3)]
        sent = server.requests()

    assert [history + 6] * 4 == [known, *again]
    assert sent == Counter(list=3, get=15)


def test_a_poll_of_a_server_without_sessions_is_one_list() -> None:
    with polled(world_of(0)) as server:
        server.poll()
        server.requests()

        for _ in range(3):
            server.poll()
        sent = server.requests()

    assert sent == Counter(list=3)


def test_organizations_cost_one_request_an_hour_and_none_per_poll() -> None:
    clock = MovableClock()
    world = World(
        sessions=5,
        activity=False,
        minimum=False,
        clock=lambda: datetime.fromtimestamp(clock.timestamp(), UTC),
    )
    with polled(world, clock=clock) as server:
        server.poll()
        first = server.requests()
        for _ in range(59):
            clock.pass_time(60)
            server.poll()
        minutes = server.requests()
        clock.pass_time(60)
        server.poll()
        hour = server.requests()

    assert first == Counter(token=1, service_instance=2, list=1, organizations=1)
    # A token is renewed before its hour is over.
    assert minutes - Counter(token=1) == Counter(list=59)
    assert hour - Counter(token=1) == Counter(service_instance=1, list=2, organizations=1)


@pytest.mark.parametrize(("new", "pages"), [(900, 1), (2_500, 3)])
def test_new_sessions_cost_a_page_for_each_thousand(new: int, pages: int) -> None:
    world = world_of(300)
    leave_open(world, 2, hours=30)
    with polled(world) as server:
        server.poll()
        server.requests()

        finish_new(world, new)
        known = server.poll().sessions_known
        sent = server.requests()

    assert known == 302 + new
    assert sent == Counter(list=pages, get=2)


def test_many_running_sessions_are_confirmed_by_a_list_instead_of_one_by_one() -> None:
    world = world_of(300)
    leave_open(world, 400, hours=5)
    finish_new(world, 1)
    with polled(world) as server:
        server.poll()
        server.requests()

        snapshot = server.poll()
        sent = server.requests()

    assert len(snapshot.running) == 400
    assert len({running.confirmed_at for running in snapshot.running}) == 1
    assert sent == Counter(list=2)


def test_extras_are_one_request_of_each_kind_for_a_running_session_and_one_more_after_its_end() -> (
    None
):
    world = world_of(300)
    running = leave_open(world, 5, hours=30)
    with polled(world, "lookback: 60d, extras: [statistics, events]") as server:
        server.poll()
        server.requests()

        for _ in range(3):
            server.poll()
        while_running = server.requests()
        world.finish(running[0])
        server.poll()
        at_the_end = server.requests()
        server.poll()
        after_the_end = server.requests()

    assert while_running == Counter(list=3, get=15, statistics=15, events=15)
    assert at_the_end == Counter(list=1, get=5, statistics=5, events=5)
    assert after_the_end == Counter(list=1, get=4, statistics=4, events=4)


def test_many_configured_ids_are_looked_up_in_the_list_at_the_very_first_poll() -> None:
    world = world_of(3_000)
    ids = [session.id for session in world.sessions()][500:2_500]
    with polled(world, f"ids: [{', '.join(ids)}], discover: false") as server:
        found = server.poll().configured_ids
        first = server.requests()
        server.poll()
        later = server.requests()

    assert sum(one.found for one in found) == 2_000
    # Three pages contain all of them; none is requested by id.
    assert first == Counter(token=1, service_instance=2, list=3)
    assert later == Counter(service_instance=1)
