"""Reads from several servers concurrently, for the commands that exit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from exporter.config import ServerConfig
from exporter.system.signals import WAKE_SECONDS
from exporter.threads import start_thread
from exporter.vb365.client import Client
from exporter.vb365.errors import Vb365Error
from exporter.vb365.http.tls import warn_if_unverified

Result = TypeVar("Result")

LOGOUT_SECONDS = 2.5
"""The maximum wait for logouts after a stop."""


def fetch_all(
    servers: Sequence[ServerConfig],
    stop: threading.Event,
    read: Callable[[ServerConfig, Client], Result],
    *,
    retry_seconds: float = 60.0,
) -> Mapping[str, Result | Vb365Error]:
    """Return what was read from each server, or the error. After a stop or a defect, a server is missing.

    A defect is logged.

    Args:
        servers: the servers to read from.
        stop: cancels the requests when set.
        read: reads from one server; called in a thread for each.
        retry_seconds: how long failed requests are retried, whatever the poll interval: a user is waiting.

    Raises:
        ThreadLimitError: the process cannot have a thread for each server.
    """
    fetched: dict[str, Result | Vb365Error] = {}

    def fetch(server: ServerConfig) -> None:
        warn_if_unverified(server)
        client = Client(server, observer=NoObserver(), stop=stop)
        try:
            with client.retrying_until(time.monotonic() + retry_seconds):
                fetched[server.name] = read(server, client)
        except Vb365Error as error:
            if not stop.is_set():
                fetched[server.name] = error.copy()  # without the traceback and what it keeps alive
        finally:
            client.close()

    # Daemon threads do not delay the interpreter's exit; name resolution cannot be cancelled.
    threads = [
        start_thread(partial(fetch, server), name=f"list-{server.name}") for server in servers
    ]
    while not stop.is_set() and any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(WAKE_SECONDS / len(threads))
    join_until(threads, time.monotonic() + LOGOUT_SECONDS)
    return {server.name: fetched[server.name] for server in servers if server.name in fetched}


def join_until(threads: Sequence[threading.Thread], deadline: float) -> None:
    """Wait until all threads have ended, or until a monotonic time."""
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


class NoObserver:
    """Ignores requests and retries: commands that read lists export no metrics."""

    def request(self, operation: str, code: str, seconds: float) -> None:
        """Do nothing."""

    def retry(self, operation: str) -> None:
        """Do nothing."""
