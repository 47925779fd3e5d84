"""The change feed of one server: a thread that follows it, and the queue it fills for the poll loop.

The feed only reports changes sooner than polls would; polls continue even if it fails. When the feed starts or restarts,
it requests a poll, because it does not report earlier changes.
"""

from __future__ import annotations

import random as random_numbers
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from exporter.polling.clock import Clock
from exporter.vb365.errors import BadResponseError, NotFoundError, Vb365Error
from exporter.vb365.records.changes import EXPIRED_TOKEN, LATEST, Changes, SessionChange

log = structlog.get_logger()

LONG_POLL_SECONDS = 30.0
"""How long the server may hold a request; shorter than the idle timeouts of proxies."""

# The feed reports changes of every resource of the server, possibly continuously.
_MIN_REQUEST_INTERVAL_SECONDS = 0.5
_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
_NO_FEED_WAIT_SECONDS = 300.0
_MAX_QUEUED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChanges:
    """Change-feed events waiting for the poll loop."""

    changes: tuple[SessionChange, ...] = ()
    """The last change of each session, in order."""
    left_out: int = 0
    """How many changes did not fit into the queue; if any, there is a gap, too."""
    gap: bool = False
    """Whether the feed missed earlier changes, which a poll must find."""
    lost: bool = False
    """Whether the feed had started before the gap: then deletions may have been missed too."""


class ChangeQueue:
    """Change-feed events on their way from the feed's thread to the poll loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._changes: dict[str, SessionChange] = {}
        self._gap = False
        self._lost = False
        self._left_out = 0

    def put(self, changes: Iterable[SessionChange]) -> None:
        """Add changes; only the last change of each session is kept. Changes that do not fit leave a gap."""
        with self._lock:
            for change in changes:
                self._changes.pop(change.session_id, None)
                if len(self._changes) < _MAX_QUEUED:
                    self._changes[change.session_id] = change
                else:
                    self._left_out += 1
                    self._gap = self._lost = True
            if self._changes:
                self._ready.set()

    def mark_gap(self, *, lost: bool) -> None:
        """Record that earlier changes are missing; `lost` if the feed had started before."""
        with self._lock:
            self._gap = True
            self._lost = self._lost or lost
            self._ready.set()

    def wake(self) -> None:
        """End the current wait, or the next one."""
        self._ready.set()

    def wait(self, seconds: float) -> PendingChanges:
        """Take everything as soon as something is queued; return an empty result after `seconds` or when woken."""
        self._ready.wait(seconds)
        with self._lock:
            pending = PendingChanges(
                changes=tuple(self._changes.values()),
                left_out=self._left_out,
                gap=self._gap,
                lost=self._lost,
            )
            self._changes = {}
            self._left_out = 0
            self._gap = self._lost = False
            self._ready.clear()
        return pending


class FeedApi(Protocol):
    """The part of `exporter.vb365.client.Client` that the feed uses."""

    @property
    def has_change_feed(self) -> bool:
        """Whether the API version in use has a change feed."""

    def change_feed(self, change_token: str, *, long_poll_seconds: float) -> Changes:
        """Fetch the changes after a change token."""


class FeedObserver(Protocol):
    """Counts what the feed does; implemented by the exporter's own metrics."""

    def feed_connected(self, *, connected: bool | None) -> None:
        """Record whether the last request succeeded; None when the server has no feed or it is not followed."""

    def feed_event(self, kind: str, timestamp: float) -> None:
        """Count an event that arrived at `timestamp` (Unix seconds)."""


class ChangeFeed:
    """Follows one server's change feed; `run` is the body of its thread.

    Args:
        server: the server's name.
        api: its API.
        queue: receives the events.
        observer: counts them.
        clock: the process's clocks.
        stop: ends the thread.
        long_poll_seconds: how long the server may hold a request.
        random: returns a number from 0 up to 1, for jitter.
    """

    def __init__(
        self,
        server: str,
        *,
        api: FeedApi,
        queue: ChangeQueue,
        observer: FeedObserver,
        clock: Clock,
        stop: threading.Event,
        long_poll_seconds: float = LONG_POLL_SECONDS,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._server = server
        self._api = api
        self._queue = queue
        self._observer = observer
        self._clock = clock
        self._stop = stop
        self._long_poll_seconds = long_poll_seconds
        self._random = random
        self._change_token: str | None = None
        self._started = False
        self._failures = 0
        self._failing_since: float | None = None
        self._missing_logged = False

    def run(self) -> None:
        """Follow the feed until stopped, or until a poll finds an API version without a feed."""
        try:
            while not self._stop.is_set() and self._api.has_change_feed:
                self._stop.wait(self.fetch())
        finally:
            self._observer.feed_connected(connected=None)

    def fetch(self) -> float:
        """Make one request and queue the events of its response. Never raises.

        Returns:
            Seconds to wait before the next request.
        """
        started = self._clock.monotonic()
        changes = None
        try:
            changes = self._request()
            self._accept(changes)
        except NotFoundError:
            return self._wait_for_feed()
        except Vb365Error as error:
            return self._back_off_from(error)
        except Exception:
            log.exception(
                "change feed aborted by unexpected error, falling back to polling",
                server=self._server,
            )
            if changes is not None:
                # Its events may be lost. A restart of the feed requests a poll with a full list.
                self._change_token = None
            return self._back_off()
        return max(0.0, _MIN_REQUEST_INTERVAL_SECONDS - (self._clock.monotonic() - started))

    def _request(self) -> Changes:
        if self._change_token is None:
            return self._api.change_feed(LATEST, long_poll_seconds=0.0)
        return self._api.change_feed(self._change_token, long_poll_seconds=self._long_poll_seconds)

    def _accept(self, changes: Changes) -> None:
        if self._change_token is None:
            self._queue.mark_gap(lost=self._started)
            self._started = True
        else:
            # A start alone does not reset the backoff: if tokens expire every time, each start costs a full list.
            self._failures = 0
        self._change_token = changes.change_token
        self._queue.put(changes.sessions)
        for change in changes.sessions:
            self._observer.feed_event(change.kind, self._clock.timestamp())
        self._observer.feed_connected(connected=True)
        if self._failing_since is not None:
            seconds = round(self._clock.monotonic() - self._failing_since, 1)
            log.info(
                "change feed available again", server=self._server, unavailable_for_seconds=seconds
            )
        self._failing_since = None

    def _wait_for_feed(self) -> float:
        """Handle a 404: the server has no feed, or no API at all, which polls report."""
        self._change_token = None
        self._observer.feed_connected(connected=None)
        if not self._missing_logged:
            self._missing_logged = True
            log.info("server has no change feed, falling back to polling", server=self._server)
        return _NO_FEED_WAIT_SECONDS

    def _back_off_from(self, error: Vb365Error) -> float:
        if error.code == EXPIRED_TOKEN or isinstance(error, BadResponseError):
            # The same token may fail every time: it has expired, or leads to an unusable response, such as one that is too
            # large. The feed restarts, and a poll finds the missed changes.
            self._change_token = None
        if self._stop.is_set():
            return 0.0
        if self._failing_since is None:
            log.warning(
                "change feed unavailable, falling back to polling",
                server=self._server,
                reason=error.reason,
                error=str(error),
            )
        return max(error.retry_after_seconds or 0.0, self._back_off())

    def _back_off(self) -> float:
        self._observer.feed_connected(connected=False)
        if self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        backoff = min(_MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        return backoff * (0.5 + self._random() / 2)
