from __future__ import annotations

from pathlib import Path

from exporter.config import parse_config
from exporter.service.backend import ServiceBackend
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from support.fake_clocks import SystemClocks


def test_a_poll_loop_that_has_been_stuck_for_an_hour_makes_the_exporter_unhealthy() -> None:
    class IdleWorker(ServerWorker):
        def poll_until_stopped(self) -> None:
            """Do nothing: the loop never moves."""

    config = parse_config(
        "servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]",
        directory=Path.cwd(),
    )
    clocks = SystemClocks()
    service = Service(config, clock=clocks.clock(), make_worker=IdleWorker)
    backend = ServiceBackend(service)
    service.start()
    assert backend.health_problems() == []

    clocks.passed_seconds += 3600

    assert backend.health_problems() == ["hq: its poll loop is stuck"]
    service.stop()
