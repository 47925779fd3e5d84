from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from simulator.support import Client, MonotonicClock, WallClock, empty_world

from exporter.simulator import Simulator
from exporter.simulator.world.world import World


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def monotonic() -> MonotonicClock:
    return MonotonicClock()


@pytest.fixture
def world(clock: WallClock) -> World:
    """A world without sessions."""
    return empty_world(clock)


@pytest.fixture
def simulate(world: World) -> Iterator[Callable[..., Client]]:
    """Return a function that starts a simulator, by default of the empty world, and reiterations a logged-in client."""
    with ExitStack() as stack:

        def start(log_in: str | None = "v8", **options: Any) -> Client:
            simulator = stack.enter_context(Simulator(options.pop("world", world), **options))
            client = Client(simulator)
            stack.callback(client.close)
            if log_in is not None:
                client.log_in(log_in)
                simulator.traffic.reset()
            return client

        yield start


@pytest.fixture
def client(simulate: Callable[..., Client]) -> Client:
    """A client logged in to a simulator of the empty world."""
    return simulate()
