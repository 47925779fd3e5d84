"""How the polls of one server end: their failures, and the status, counters and snapshot that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Moment
from exporter.polling.interfaces import PollObserver
from exporter.polling.ledger import Ledger
from exporter.polling.snapshot import Snapshot
from exporter.polling.status import PollFailure, ServerHealth, aborts_poll
from exporter.vb365.errors import Reason, Vb365Error

__all__ = ["PollOutcome"]

log = structlog.get_logger()


class PollOutcome:
    """Collects the failures of a poll, and publishes its result.

    Args:
        server: the server's configuration.
        ledger: its sessions.
        health: its status.
        observer: counts polls.
        now: returns the current moment.
        timestamp: reads the system's wall clock, in Unix seconds.
        publish: receives every new snapshot.
        mark_down: shows the server as down, for this reason, until the next snapshot.

    Attributes:
        failures: those of the poll under way or, between polls, of the last one.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        ledger: Ledger,
        health: ServerHealth,
        observer: PollObserver,
        now: Callable[[], Moment],
        timestamp: Callable[[], float],
        publish: Callable[[Snapshot], None],
        mark_down: Callable[[str], None],
    ) -> None:
        self._server = server
        self._ledger = ledger
        self._health = health
        self._observer = observer
        self._now = now
        self._timestamp = timestamp
        self._publish = publish
        self._mark_down = mark_down
        self._started = now()
        self._counted = False
        self._broken_by: str | None = None
        self.failures: list[PollFailure] = []

    def begin(self, started: Moment) -> None:
        """Start a poll."""
        self._started = started
        self._counted = False
        self.failures = []

    def tolerate(self, error: Vb365Error) -> None:
        """Record an error that fails the poll but does not abort it; raise any other."""
        if aborts_poll(error):
            raise error
        self.failures.append(PollFailure.of(error))

    def abort(self, error: Exception, *, stopped: bool) -> None:
        """Record an error that aborts the poll; log one that is a defect, unless the poller is stopped."""
        if isinstance(error, Vb365Error):
            self.failures.append(PollFailure.of(error))
            return
        failure = PollFailure(reason=Reason.INTERNAL, message=type(error).__name__)
        self.failures.append(failure)
        if self._health.is_new_failure(failure) and not stopped:
            log.error("poll aborted by unexpected error", server=self._server.name, exc_info=error)

    def end(self) -> None:
        """End the poll, and publish what it got."""
        failure = self.failures[0] if self.failures else None
        ended = self._now()
        self._ledger.end_poll(ended, succeeded=failure is None)
        self._health.record_poll(failure, self._started, ended, self._timestamp())
        self._count(failure)
        self.publish_snapshot()
        if self._broken_by is not None:
            log.info("polls end again", server=self._server.name)
        self._broken_by = None

    def publish_snapshot(self) -> None:
        """Publish the current state."""
        self._publish(self._ledger.snapshot(self._health.status))

    def break_off(self, error: Exception) -> None:
        """Show the server as down until a poll ends, because `error` ended the last one or kept it from being published."""
        kind = type(error).__name__
        is_new, self._broken_by = kind != self._broken_by, kind
        with (
            ExitStack() as steps
        ):  # the last one first; each is taken even if those before it fail, too
            if is_new:
                steps.callback(
                    log.error,
                    "poll broke off, server is down until one ends",
                    server=self._server.name,
                    exc_info=error,
                )
            steps.callback(
                self._count, PollFailure(reason=Reason.INTERNAL, message=f"poll broke off: {kind}")
            )
            steps.callback(self._mark_down, f"poll broke off: {kind}")

    def _count(self, failure: PollFailure | None) -> None:
        """Count the poll once, and its first failure once."""
        if not self._counted:
            self._observer.polled(failure.reason if failure else None)
        elif failure is not None and not self.failures:
            self._observer.poll_broke_off()
            self.failures.append(failure)
        self._counted = True
