from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from exporter.config import AuthConfig, SecretSource, ServerConfig, parse_config
from exporter.report.collect import Scope, collect
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.vb365.errors import BadResponseError
from exporter.vb365.records.restore_session import Page
from support.exporter_harness import server_yaml
from support.listing_client import ListingClient, long_texts, page_of
from support.sample_sessions import NOON, running
from support.single_poller import running_client


def test_an_end_ahead_of_the_servers_time_is_not_the_last_proven_restore() -> None:
    now = datetime.now(UTC)
    end = now - timedelta(hours=1)
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    for end_time in (end, now + timedelta(days=300)):
        world.add_session(
            state="Stopped",
            creation_time=end - timedelta(hours=1),
            end_time=end_time,
            details="2 items processed",
        )
    with Simulator(world) as simulator:
        (server,) = parse_config(f"servers:{server_yaml(simulator)}", directory=Path.cwd()).servers
        with running_client(server) as client:
            scope = Scope(since=now - timedelta(days=1), until=now)
            evidence = collect(server, client, scope, threading.Event())

    assert list(evidence.last_proven.values()) == [end]


@pytest.mark.parametrize(
    ("pages", "seconds_per_page", "message"),
    [
        ([page_of(running(1))] * 3, 1000.0, "the list took longer than 1800 s"),
        (long_texts(), 1.0, "the texts of its sessions are too long"),
    ],
    ids=["slow", "long texts"],
)
def test_a_list_that_takes_too_long_or_too_much_memory_is_not_reported(
    pages: Iterable[Page], seconds_per_page: float, message: str
) -> None:
    server = ServerConfig(
        name="hq", url="https://hq.example", auth=AuthConfig(token=SecretSource(value="t"))
    )
    scope = Scope(since=NOON, until=NOON, info_labels=("name", "reason"))
    client = ListingClient(pages).client
    clock = count(step=seconds_per_page).__next__

    with pytest.raises(BadResponseError, match=message):
        collect(server, client, scope, threading.Event(), clock=clock)
