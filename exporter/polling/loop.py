"""The poll loop of one server: polls on schedule, and passes on change-feed events in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from exporter.config import ServerConfig
from exporter.polling.changefeed import ChangeQueue
from exporter.polling.clock import Clock
from exporter.polling.poll_driver import PollDriver
from exporter.polling.poller import Poller

RECOVERY_SECONDS = 10.0
_FIRST_POLL_SPACING_SECONDS = 0.1


class PollLoop:
    """Schedules the polls of one server; `run` is the body of its poll thread.

    Args:
        server: the server's configuration.
        poller: makes the polls; its failures and heartbeat are recorded here.
        driver: calls the poller, and acts on the change-feed events in between.
        queue: holds the change-feed events.
        clock: the process's clocks.
        stop: ends the loop. After setting it, call `queue.wake()` to end the current wait.
        after_poll: called after each scheduled poll.
        first_interval_seconds: time from the first poll that does not overrun to the next, by default the poll interval.
        recovery_seconds: time to the next poll after an exception, at most the poll interval.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        poller: Poller,
        driver: PollDriver,
        queue: ChangeQueue,
        clock: Clock,
        stop: threading.Event,
        after_poll: Callable[[], None] = lambda: None,
        first_interval_seconds: float | None = None,
        recovery_seconds: float = RECOVERY_SECONDS,
    ) -> None:
        self._server = server
        self._poller = poller
        self._driver = driver
        self._queue = queue
        self._clock = clock
        self._stop = stop
        self._after_poll = after_poll
        self._recovery_seconds = recovery_seconds
        self._due = self._delay = 0.0
        self._first_interval_seconds = first_interval_seconds or server.poll_interval

    def run(self) -> None:
        """Poll until stopped. Polls never overlap: after one that overran, the next starts immediately.

        No exception ends the loop: the next poll follows after `recovery_seconds`. If the exception kept a result from
        being published, the server is shown as down until the next poll ends.
        """
        self._due = self._clock.monotonic()
        self._delay = self._first_interval_seconds
        while not self._stop.is_set():
            try:
                self._poll_and_wait()
            except Exception as error:  # noqa: BLE001 - `fail_uncompleted` logs it
                with suppress(Exception):  # most likely out of memory
                    self._poller.fail_uncompleted(error)
                self._poller.heartbeat.beat()
                self._stop.wait(min(self._server.poll_interval, self._recovery_seconds))

    def _poll_and_wait(self) -> None:
        """Poll, and apply changes until the next poll is due."""
        interval = self._server.poll_interval
        started = self._clock.monotonic()
        self._driver.poll(next_poll_at=self._due + self._delay)
        if self._stop.is_set():
            return  # how long an aborted poll took shows nothing
        self._after_poll()
        now = self._clock.monotonic()
        if now - started > interval:
            self._poller.anomalies.overran(now - started)
            self._due = now
        else:
            # Polls missed while the process was suspended are skipped.
            self._due = max(self._due + self._delay, now)
            self._delay = interval
        self._apply_changes_until(self._due)

    def _apply_changes_until(self, due: float) -> None:
        while True:
            pending = self._queue.wait(max(0.0, due - self._clock.monotonic()))
            self._poller.heartbeat.beat()
            if self._stop.is_set():
                return
            try:
                self._driver.apply(pending, next_poll_at=due)
            except Exception:
                if pending.changes:
                    self._queue.mark_gap(lost=True)  # a full list replaces the lost events
                raise
            if self._clock.monotonic() >= due:
                return


def spacing_seconds(server: ServerConfig, servers: int) -> float:
    """Return the seconds between the first polls of two servers; the last server waits no longer than its interval."""
    return min(_FIRST_POLL_SPACING_SECONDS, server.poll_interval / servers)


def first_interval_seconds(server: ServerConfig, number: int, servers: int) -> float:
    """Return the time from a server's first poll to its second, which spreads the polls over the poll interval."""
    if servers * spacing_seconds(server, servers) >= server.poll_interval / 2:
        return server.poll_interval  # the first polls are spread already
    return server.poll_interval * (1 - number / servers)
