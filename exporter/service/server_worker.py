"""Everything that polls one server: its client, poller and change feed, and their threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

import structlog

from exporter.config import ServerConfig, SessionsConfig
from exporter.metrics.telemetry import ServerTelemetry
from exporter.polling.changefeed import LONG_POLL_SECONDS, ChangeFeed, ChangeQueue
from exporter.polling.clock import Clock
from exporter.polling.loop import PollLoop
from exporter.polling.poller import Poller
from exporter.polling.server_state import ServerState
from exporter.polling.snapshot import Snapshot
from exporter.threads import ThreadLimitError, start_thread
from exporter.vb365.client import Client, Timing
from exporter.vb365.http.tls import warn_if_unverified
from exporter.vb365.records.restore_session import RestoreSession

log = structlog.get_logger()


class ServerWorker:
    """Polls one server from `begin` to `stop`. `start`, `begin`, `cancel` and `stop` must not run concurrently.

    `cancel` ends polls and change feed, or a worker that has not begun; `stop` also logs out and closes the connections.

    Args:
        server: the server's configuration.
        clock: the process's clocks.
        telemetry: the exporter's own metrics of this server.
        publish: called with this worker and each new snapshot.
        mark_down: called with this worker and the reason when a poll is not completed or the poll loop ended.
        on_changed: called with the sessions found, started or finished.
        replaces: the server's previous worker; polling starts after its last poll of the same URL has ended, and continues
            with its state if both configurations show the same sessions. Pauses that the server has requested go on for the same
            account.
        first_interval_seconds: time from the first poll that does not overrun to the next.
        long_poll_seconds: how long the server may hold a request for its change feed.

    Attributes:
        state: what is known of the server.
        stopped: set by `cancel` and `stop`; cancels all requests.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        clock: Clock,
        telemetry: ServerTelemetry,
        publish: Callable[[ServerWorker, Snapshot], None],
        mark_down: Callable[[ServerWorker, str], None],
        on_changed: Callable[[tuple[RestoreSession, ...]], None],
        replaces: ServerWorker | None,
        first_interval_seconds: float,
        long_poll_seconds: float = LONG_POLL_SECONDS,
    ) -> None:
        warn_if_unverified(server)
        self.server = server
        self.stopped = threading.Event()
        self.client: Client = Client(
            server,
            observer=telemetry,
            stop=self.stopped,
            pauses=replaces.client.pauses
            if replaces is not None and _is_same_account(replaces.server, server)
            else None,
            timing=Timing(clock=clock.monotonic, wall_clock=clock.timestamp, wait=clock.wait),
        )
        self._telemetry = telemetry
        self._mark_down = partial(mark_down, self)
        self.state: ServerState = (
            replaces.state
            if replaces is not None and _show_same_sessions(replaces.server, server)
            else ServerState(server)
        )
        self.poller = Poller(
            server,
            api=self.client,
            state=self.state,
            clock=clock,
            observer=telemetry,
            publish=partial(publish, self),
            mark_down=self._mark_down,
            on_changed=on_changed,
            stop=self.stopped,
        )
        self._changes = ChangeQueue()
        self._replaces = replaces
        self._loop = PollLoop(
            server,
            poller=self.poller,
            ledger=self.state.ledger,
            queue=self._changes,
            clock=clock,
            stop=self.stopped,
            after_poll=self.start_feed_if_available,
            first_interval_seconds=first_interval_seconds,
        )
        self._feed = ChangeFeed(
            server.name,
            api=self.client,
            queue=self._changes,
            observer=telemetry.feed(self.stopped),
            clock=clock,
            stop=self.stopped,
            long_poll_seconds=long_poll_seconds,
        )
        self._refusal_logged = False
        self._hands_over_state = False
        self._begun = threading.Event()
        self._begin_after_seconds = 0.0
        self._threads: dict[str, threading.Thread] = {}

    def start(self) -> None:
        """Start the polling thread, which waits for `begin`.

        Raises:
            ThreadLimitError: the process cannot have another thread.
        """
        self._start("poll", self._poll_when_begun)

    def begin(self, after_seconds: float = 0.0) -> None:
        """Start polling, after `after_seconds` and after the replaced worker's last poll of the same URL.

        The first poll that finds a change feed starts its thread.
        """
        self._begin_after_seconds = after_seconds
        self._begun.set()

    def start_one_poll(self) -> None:
        """Start a single poll. Its data never becomes stale, however long this poll or those of other servers take.

        Raises:
            ThreadLimitError: the process cannot have another thread.
        """
        self.state.ledger.stale_after_seconds = inf
        self._start("poll", self._poll_once)

    def poll_until_stopped(self) -> None:
        """Poll on schedule; called by the polling thread once polling begins."""
        self._loop.run()

    def poll_soon(self) -> None:
        """End the current wait; a poll that is due starts."""
        self._changes.wake()

    @property
    def has_ended(self) -> bool:
        """Whether the polling thread has ended although the worker is not stopped."""
        thread = self._threads.get("poll")
        return thread is not None and not thread.is_alive() and not self.stopped.is_set()

    def restart_if_ended(self) -> None:
        """Start the polling thread again if it has ended; if the operating system refuses, do nothing."""
        if self.has_ended:
            with suppress(ThreadLimitError):
                self.start()

    def cancel(self, successor: ServerWorker | None = None) -> None:
        """Cancel all requests, which ends polls and change feed, without waiting for them to end.

        At its end, the polling thread passes on the sessions that were not passed on yet, unless the successor continues
        with the state.

        Args:
            successor: polls the server from now on.
        """
        if not self.stopped.is_set():
            self._hands_over_state = successor is not None and successor.state is self.state
        self.stopped.set()
        self._begun.set()
        self._changes.wake()

    def stop(self) -> None:
        """Cancel all requests, log out and close the connections, without waiting for any of it."""
        self.cancel()
        try:
            self._start("close", self.client.close)
        except ThreadLimitError as error:
            log.warning("not logged out", server=self.server.name, error=str(error))

    @property
    def is_running(self) -> bool:
        """Whether any of its threads is alive."""
        return any(thread.is_alive() for thread in tuple(self._threads.values()))

    def join(self, seconds: float) -> None:
        """Wait for all of its threads, for at most `seconds`."""
        until = time.monotonic() + seconds
        for thread in tuple(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def join_polls(self) -> None:
        """Wait until polls and change feed have ended, those of the replaced worker included."""
        for purpose in ("poll", "feed"):  # in this order: polls start the feed
            if purpose in self._threads:
                self._threads[purpose].join()
        self._join_replaced()  # if this worker was stopped before it could wait for it

    def _join_replaced(self) -> None:
        """Wait until the replaced worker no longer polls, if its URL is the same; with another, name resolution may hang."""
        if self._replaces is not None and self._replaces.server.url == self.server.url:
            self._replaces.join_polls()

    def _poll_when_begun(self) -> None:
        self._begun.wait()
        self.stopped.wait(self._begin_after_seconds)
        self._begin_after_seconds = 0.0
        if self._replaces is not None and not self.stopped.is_set():
            self._telemetry.feed_ended(
                is_continued=_follow_same_feed(self._replaces.server, self.server)
            )
            self._join_replaced()
            self._replaces = None
            self.state.continue_with(self.server)
        try:
            if not self.stopped.is_set():
                self.poll_until_stopped()
        finally:
            if not self.stopped.is_set():
                log.error("poll loop ended unexpectedly, restarting it", server=self.server.name)
                self._mark_down("its poll loop ended")
            elif not self._hands_over_state:
                if self._replaces is not None and self._replaces.state is self.state:
                    self._join_replaced()  # this worker has not polled: the replaced one may still use the state
                self.poller.pass_on_changed()

    def _poll_once(self) -> None:
        try:
            self.poller.poll()
        except Exception:
            log.exception("poll not completed", server=self.server.name)

    def start_feed_if_available(self) -> None:
        """Start the change feed's thread, unless it runs, once a poll has found that the server has a feed."""
        is_wanted = self.server.change_feed == "auto" and self.client.has_change_feed
        thread = self._threads.get("feed")
        if not is_wanted or self.stopped.is_set() or (thread is not None and thread.is_alive()):
            return
        try:
            self._start("feed", self._feed.run)
            self._refusal_logged = False
        except ThreadLimitError as error:
            if not self._refusal_logged:
                log.warning(
                    "change feed unavailable, falling back to polling",
                    server=self.server.name,
                    reason="internal",
                    error=str(error),
                )
            self._refusal_logged = True

    def _start(self, purpose: str, body: Callable[[], None]) -> None:
        self._threads[purpose] = start_thread(body, name=f"{purpose}-{self.server.name}")


def _is_same_account(before: ServerConfig, after: ServerConfig) -> bool:
    """Whether both have the same account on the same server; a new password does not make it another one."""
    if before.url != after.url:
        return False
    if after.auth.username is None:
        return before.auth == after.auth
    return before.auth.username == after.auth.username


def _follow_same_feed(before: ServerConfig, after: ServerConfig) -> bool:
    """Whether the change feed, if the server has one, is followed and is the same as before."""
    return after.change_feed == "auto" and (before.url, before.api_version) == (
        after.url,
        after.api_version,
    )


def _show_same_sessions(before: ServerConfig, after: ServerConfig) -> bool:
    """Whether the same account sees the same sessions on the same server, whatever else differs."""
    return (
        _is_same_account(before, after)
        and before.api_version == after.api_version
        and _unordered(before.sessions) == _unordered(after.sessions)
    )


def _unordered(sessions: SessionsConfig) -> SessionsConfig:
    """Return the settings for a comparison without the order of ids and extras, which has no meaning."""
    update = {"ids": frozenset(sessions.ids), "extras": frozenset(sessions.extras)}
    return sessions.model_copy(update=update)
