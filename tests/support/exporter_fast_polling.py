"""A service without a web server that polls many times a second, and its exposition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.config import parse_config
from exporter.metrics.text_format import Format
from exporter.polling.clock import Clock
from exporter.service.service import Service
from exporter.simulator.world.organizations import NEVER_RESTORED
from support.waiting import wait_until

POLL_SECONDS = 0.05
"""Shorter than the configuration file allows."""

# Metrics of the polls themselves rather than of sessions.
TIMING = ("vb365_polls", "vb365_last_", "vb365_api_request")


class Watched:
    """A running service without a web server, and its exposition."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def up(self, server: str) -> bool:
        """Return whether the last poll of a server was complete."""
        return f'vb365_up{{server="{server}"}} 1.0' in self.lines(server)

    def polls(self, server: str) -> float:
        """Return the number of polls of a server."""
        return self.value(f'vb365_polls_total{{server="{server}"}}')

    def wait_for_polls(self, server: str, number: int) -> None:
        """Wait for `number` more polls of a server."""
        until = self.polls(server) + number
        wait_until(lambda: self.polls(server) >= until, f"{number} polls")

    def value(self, series: str) -> float:
        """Return the value of a series."""
        (line,) = (line for line in self._text().splitlines() if line.startswith(f"{series} "))
        return float(line.rpartition(" ")[2])

    def lines(self, server: str) -> list[str]:
        """Return the lines of a server's samples, without those of its polls.

        Nor those of the organization without sessions: it is requested when a poll leaves time for it.
        """
        return [
            line
            for line in self._text().splitlines()
            if f'server="{server}"' in line
            and not line.startswith(TIMING)
            and f'organization="{NEVER_RESTORED}"' not in line
        ]

    def _text(self) -> str:
        return b"".join(self._service.publisher.exposition(Format.TEXT).chunks(gzip=False)).decode()


@contextmanager
def watched(
    *servers: str, stale_after_seconds: float = 180.0, clock: Clock | None = None
) -> Iterator[Watched]:
    """Poll servers twenty times a second."""
    config = parse_config(f"servers:{''.join(servers)}", directory=Path.cwd())
    fast = tuple(
        server.model_copy(
            update={"poll_interval": POLL_SECONDS, "stale_after": stale_after_seconds}
        )
        for server in config.servers
    )
    service = Service(config.model_copy(update={"servers": fast}), clock=clock)
    service.start()
    try:
        yield Watched(service)
    finally:
        service.stop()


def sessions(lines: list[str]) -> list[str]:
    """Return the lines of single sessions."""
    return [line for line in lines if 'session_id="' in line]
