"""Follows the change feed of one server beside its polls, in a thread of its own.

The feed only makes known sooner what the polls would find. Whatever goes wrong with it, they go on; when it begins
anew, and so cannot tell what happened before, a poll is asked for.
"""

from __future__ import annotations

import random as random_numbers
import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from exporter.polling.clock import Clock
from exporter.polling.inbox import ChangeQueue
from exporter.vb365.errors import NotFoundError, Vb365Error
from exporter.vb365.records.changes import EXPIRED_TOKEN, LATEST, Changes

__all__ = ["ChangeFeed", "FeedApi", "FeedObserver"]

log = structlog.get_logger()

LONG_POLL_SECONDS = 30.0
"""How long the server is to wait for something to tell; shorter than what proxies take for a dead connection."""

_SHORTEST_GAP_SECONDS = 0.5
"""Between two answers: the feed tells of every resource of a server, and may do so all the time."""
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_NO_FEED_WAIT_SECONDS = 300.0
_VERSION_WAIT_SECONDS = 5.0
_WAKE_SECONDS = 1.0


class FeedApi(Protocol):
    """What the feed needs of `exporter.vb365.client.Client`."""

    @property
    def has_change_feed(self) -> bool:
        """Whether the version that is used has a feed."""

    def change_feed(self, change_token: str, *, long_poll_seconds: float) -> Changes:
        """Ask what has changed since a position."""


class FeedObserver(Protocol):
    """Who tells of the feed; the exporter's own metrics."""

    def feed_connected(self, *, connected: bool | None) -> None:
        """Whether the last question was answered; None when the server has no feed."""

    def feed_event(self, kind: str, timestamp: float) -> None:
        """The feed told of a restore session, at this time (Unix seconds)."""


class ChangeFeed:
    """One server's feed; `run` is the body of its thread.

    Args:
        server: the server's name.
        api: its API.
        inbox: where what is told goes.
        observer: counts it.
        polled_once: set when the first poll has ended, and with it the API's version is known.
        clock: tells for how long the feed was lost.
        stop: ends it.
        random: a number from 0 up to 1.
    """

    def __init__(
        self,
        server: str,
        *,
        api: FeedApi,
        inbox: ChangeQueue,
        observer: FeedObserver,
        polled_once: threading.Event,
        clock: Clock,
        stop: threading.Event,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._server = server
        self._api = api
        self._inbox = inbox
        self._observer = observer
        self._polled_once = polled_once
        self._clock = clock
        self._stop = stop
        self._random = random
        self._position: str | None = None
        self._begun = False
        self._failures = 0
        self._lost_at: float | None = None
        self._missing_logged = False

    def run(self) -> None:
        """Follow the feed until stopped."""
        while not self._stop.is_set() and not self._polled_once.wait(_WAKE_SECONDS):
            pass
        while not self._stop.is_set():
            self._stop.wait(self.ask())

    def ask(self) -> float:
        """Ask once and hand on what is told. Never raises.

        Returns:
            Seconds to wait before the next time.
        """
        if not self._api.has_change_feed:
            self._observer.feed_connected(connected=None)
            return _VERSION_WAIT_SECONDS
        begun = self._clock.monotonic()
        try:
            changes = self._changes()
        except NotFoundError:
            return self._no_feed()
        except Vb365Error as error:
            return self._lost(error)
        except Exception:
            log.exception("change feed broke off, polls go on", server=self._server)
            return self._wait_after_failure(None)
        self._take(changes)
        return max(0.0, _SHORTEST_GAP_SECONDS - (self._clock.monotonic() - begun))

    def _changes(self) -> Changes:
        if self._position is None:
            return self._api.change_feed(LATEST, long_poll_seconds=0.0)
        return self._api.change_feed(self._position, long_poll_seconds=LONG_POLL_SECONDS)

    def _take(self, changes: Changes) -> None:
        if self._position is None:
            self._inbox.put_gap(lost=self._begun)
            self._begun = True
        else:
            # Not when it only begins: where positions do not last, each beginning costs a list of everything.
            self._failures = 0
        self._position = changes.change_token
        self._inbox.put(changes.sessions)
        for change in changes.sessions:
            self._observer.feed_event(change.kind, self._clock.timestamp())
        self._observer.feed_connected(connected=True)
        if self._lost_at is not None:
            lost_for = round(self._clock.monotonic() - self._lost_at, 1)
            log.info("change feed followed again", server=self._server, lost_for_seconds=lost_for)
        self._lost_at = None

    def _no_feed(self) -> float:
        """The API is there, and this of it is not; or the whole API is not, which the polls will tell."""
        self._position = None
        self._observer.feed_connected(connected=None)
        if not self._missing_logged:
            self._missing_logged = True
            log.info("server has no change feed, polls alone tell of changes", server=self._server)
        return _NO_FEED_WAIT_SECONDS

    def _lost(self, error: Vb365Error) -> float:
        if error.code == EXPIRED_TOKEN:
            self._position = None  # what was missed, a poll finds
        if self._stop.is_set():
            return 0.0
        return self._wait_after_failure(error)

    def _wait_after_failure(self, error: Vb365Error | None) -> float:
        self._observer.feed_connected(connected=False)
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            if error is not None:
                log.warning(
                    "change feed lost, polls alone tell of changes",
                    server=self._server,
                    reason=error.reason,
                    error=str(error),
                )
        longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        asked_for = error.retry_after_seconds if error is not None else None
        return max(asked_for or 0.0, longest * (0.5 + self._random() / 2))
