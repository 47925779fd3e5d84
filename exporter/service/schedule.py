"""When each server is polled first and second, so that the polls of many servers do not coincide."""

from __future__ import annotations

from exporter.config import ServerConfig

__all__ = ["first_interval_seconds", "spacing_seconds"]

_FIRST_POLL_SPACING_SECONDS = 0.1
"""Between the first polls of two servers: hundreds of logins and full lists in parallel delay each other and scrapes."""


def spacing_seconds(server: ServerConfig, servers: int) -> float:
    """Return the seconds between the first polls of two servers; the last server waits no longer than its interval."""
    return min(_FIRST_POLL_SPACING_SECONDS, server.poll_interval / servers)


def first_interval_seconds(server: ServerConfig, number: int, servers: int) -> float:
    """Return the time from a server's first poll to its second, which spreads the polls over the poll interval."""
    if servers * spacing_seconds(server, servers) >= server.poll_interval / 2:
        return server.poll_interval  # the first polls are spread already
    return server.poll_interval * (1 - number / servers)
