"""Everything that polls one server: its client, poller and change feed, and their threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from exporter.config import ServerConfig
from exporter.metrics.telemetry import ServerTelemetry
from exporter.polling.changefeed import LONG_POLL_SECONDS, ChangeFeed, ChangeQueue
from exporter.polling.clock import Clock
from exporter.polling.ledger import Ledger
from exporter.polling.loop import PollLoop
from exporter.polling.poller import Poller
from exporter.polling.snapshot import Snapshot
from exporter.vb365.client import Client, Timing
from exporter.vb365.http.tls import warn_if_unverified
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["ServerWorker"]


class ServerWorker:
    """Polls one server from `start` to `stop`, which must not run concurrently.

    Args:
        server: the server's configuration.
        clock: the process's clocks.
        telemetry: the exporter's own metrics of this server.
        publish: called with this worker and each new snapshot.
        on_changed: called with the sessions that started or finished.
        replaces: the server's previous worker; polling starts when its polls have ended, so that they never overlap.
        first_interval_seconds: time from the first poll to the second.
        long_poll_seconds: how long the server may hold a request for its change feed.

    Attributes:
        stopped: set by `stop`; cancels all requests.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        clock: Clock,
        telemetry: ServerTelemetry,
        publish: Callable[[ServerWorker, Snapshot], None],
        on_changed: Callable[[tuple[RestoreSession, ...]], None],
        replaces: ServerWorker | None,
        first_interval_seconds: float,
        long_poll_seconds: float = LONG_POLL_SECONDS,
    ) -> None:
        warn_if_unverified(server)
        self.server = server
        self.telemetry = telemetry
        self.stopped = threading.Event()
        self.client = Client(
            server,
            observer=telemetry,
            stop=self.stopped,
            timing=Timing(clock=clock.monotonic, wall_clock=clock.timestamp, wait=clock.wait),
        )
        self.poller = Poller(
            server,
            api=self.client,
            ledger=Ledger(server.name, server.sessions, server.stale_after),
            clock=clock,
            observer=telemetry,
            publish=partial(publish, self),
            on_changed=on_changed,
            stop=self.stopped,
        )
        self._changes = ChangeQueue()
        self._replaces = replaces
        self._loop = PollLoop(
            server,
            poller=self.poller,
            queue=self._changes,
            clock=clock,
            stop=self.stopped,
            first_interval_seconds=first_interval_seconds,
        )
        self._feed = ChangeFeed(
            server.name,
            api=self.client,
            queue=self._changes,
            observer=telemetry,
            polled_once=self.poller.polled_once,
            clock=clock,
            stop=self.stopped,
            long_poll_seconds=long_poll_seconds,
        )
        self._polling: list[threading.Thread] = []
        self._closing: list[threading.Thread] = []

    def start(self) -> None:
        """Start polling and, unless it is disabled, following the change feed."""
        self._polling.append(self._start("poll", self._poll_after_replaced))
        if self.server.change_feed == "auto":
            self._polling.append(self._start("feed", self._feed.run))

    def start_one_poll(self) -> None:
        """Start a single poll."""
        self._polling.append(self._start("poll", self.poller.poll))

    def poll_until_stopped(self) -> None:
        """Poll on schedule; the body of the polling thread."""
        self._loop.run()

    def stop(self) -> None:
        """Cancel all requests, log out and close the connections, without waiting for any of it."""
        self.stopped.set()
        self._changes.wake()
        self._closing.append(self._start("close", self.client.close))

    @property
    def is_running(self) -> bool:
        """Whether any of its threads is alive."""
        return any(thread.is_alive() for thread in (*self._polling, *self._closing))

    def join(self, seconds: float) -> None:
        """Wait for all of its threads, for at most `seconds`."""
        until = time.monotonic() + seconds
        for thread in (*self._closing, *self._polling):
            thread.join(max(0.0, until - time.monotonic()))

    def join_polls(self) -> None:
        """Wait until polls and change feed have ended."""
        for thread in self._polling:
            thread.join()

    def _poll_after_replaced(self) -> None:
        if self._replaces is not None:
            self._replaces.join_polls()
            self._replaces = None
        self.poll_until_stopped()

    def _start(self, purpose: str, body: Callable[[], None]) -> threading.Thread:
        name = f"{purpose}-{self.server.name}"
        thread = threading.Thread(target=body, name=name, daemon=True)
        thread.start()
        return thread
