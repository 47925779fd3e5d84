from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.config import parse_config
from exporter.report.collect import Scope, collect
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml
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
