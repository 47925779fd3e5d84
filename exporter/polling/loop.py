"""The loop of one server: polls on time, and takes in between what the change feed tells."""

from __future__ import annotations

import threading

from exporter.config import ServerConfig
from exporter.polling.clock import Clock
from exporter.polling.inbox import ChangeQueue
from exporter.polling.poller import Poller

__all__ = ["PollLoop"]


class PollLoop:
    """`run` is the body of the server's thread.

    Args:
        server: whom to poll, and how often.
        poller: makes the polls.
        inbox: what the change feed tells.
        clock: the process's clocks.
        stop: ends it; `wake` makes it notice at once.
        initial_delay_seconds: from the first poll to the second; the poll interval if not given.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        poller: Poller,
        inbox: ChangeQueue,
        clock: Clock,
        stop: threading.Event,
        initial_delay_seconds: float | None = None,
    ) -> None:
        self._server = server
        self._poller = poller
        self._inbox = inbox
        self._clock = clock
        self._stop = stop
        self._first_gap_seconds = initial_delay_seconds or server.poll_interval

    def run(self) -> None:
        """Poll until stopped; polls never overlap, and one that overran is followed by the next at once."""
        interval = self._server.poll_interval
        due = self._clock.monotonic()
        gap = self._first_gap_seconds
        while not self._stop.is_set():
            begun = self._clock.monotonic()
            self._poller.poll()
            now = self._clock.monotonic()
            if now - begun > interval:
                self._poller.overran(now - begun)
                due = now
            else:
                # Polls that a frozen process has missed are not made up for.
                due = max(due + gap, now)
                gap = interval
            self._follow_until(due)
        self._poller.close()

    def _follow_until(self, due: float) -> None:
        """Take in what the change feed tells, until the next poll is due."""
        seconds = due - self._clock.monotonic()
        while True:
            told = self._inbox.wait(max(0.0, seconds))
            self._poller.beat()
            if self._stop.is_set():
                return
            if told.gap:
                self._poller.poll(full_list=told.lost)
            if told.changes:
                # Also after a poll: it does not see that a finished session was deleted.
                self._poller.follow(told.changes)
            seconds = due - self._clock.monotonic()
            if seconds <= 0:
                return
