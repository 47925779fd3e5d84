"""One server that is polled: everything that works for it, and its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

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
    """Polls a server from `start` to `stop`. Belongs to the service's thread.

    Args:
        server: whom to poll.
        clock: the process's clocks.
        telemetry: counts what happens with it.
        publish: takes its snapshots.
        record: takes the sessions that began or ended.
        stop: ends it; to be set by `stop` only.
        replaces: who polled it before; its threads end before these begin, so that polls never overlap.
        initial_delay_seconds: from the first poll to the second.
        long_poll_seconds: how long the server may hold a request for its change feed.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        clock: Clock,
        telemetry: ServerTelemetry,
        publish: Callable[[Snapshot], None],
        record: Callable[[tuple[RestoreSession, ...]], None],
        stop: threading.Event,
        replaces: ServerWorker | None,
        initial_delay_seconds: float,
        long_poll_seconds: float = LONG_POLL_SECONDS,
    ) -> None:
        warn_if_unverified(server)
        self.server = server
        self.telemetry = telemetry
        self.stopped = stop
        self.client = Client(
            server,
            observer=telemetry,
            stop=stop,
            timing=Timing(clock=clock.monotonic, wall_clock=clock.timestamp, wait=clock.wait),
        )
        self.poller = Poller(
            server,
            api=self.client,
            ledger=Ledger(server.name, server.sessions, server.stale_after),
            clock=clock,
            observer=telemetry,
            publish=publish,
            record=record,
            stop=stop,
        )
        self._clock = clock
        self._changes = ChangeQueue()
        self._replaced = replaces
        self._loop = PollLoop(
            server,
            poller=self.poller,
            queue=self._changes,
            clock=clock,
            stop=stop,
            initial_delay_seconds=initial_delay_seconds,
        )
        self._feed = ChangeFeed(
            server.name,
            api=self.client,
            queue=self._changes,
            observer=telemetry,
            polled_once=self.poller.polled_once,
            clock=clock,
            stop=stop,
            long_poll_seconds=long_poll_seconds,
        )
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Poll again and again, and follow the change feed where there is one."""
        self._start("poll", self._poll_after_replaced)
        if self.server.change_feed == "auto":
            self._start("feed", self._feed.run)

    def start_one_poll(self) -> None:
        """Poll once."""
        self._start("poll", self.poller.poll)

    def stop(self) -> None:
        """Abandon what is under way and let the threads end, without waiting for it."""
        self.stopped.set()
        self._changes.wake()

    @property
    def is_running(self) -> bool:
        """True while one of its threads is alive."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, seconds: float = inf) -> None:
        """Wait for the end of its threads, at most so long."""
        until = self._clock.monotonic() + seconds
        for thread in self._threads:
            left = until - self._clock.monotonic()
            thread.join(None if left == inf else max(0.0, left))

    def _poll_after_replaced(self) -> None:
        if self._replaced is not None:
            self._replaced.join()
            self._replaced = None
        self._loop.run()

    def _start(self, purpose: str, body: Callable[[], None]) -> None:
        name = f"{purpose}-{self.server.name}"
        thread = threading.Thread(target=body, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
