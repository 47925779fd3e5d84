"""Ends polls: collects their failures, and derives status, counters and snapshot."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Moment
from exporter.polling.health import PollFailure
from exporter.polling.interfaces import Api, PollObserver
from exporter.polling.server_state import ServerState
from exporter.polling.snapshot import Snapshot
from exporter.vb365.errors import Reason, Vb365Error, would_recur

log = structlog.get_logger()

# What has not been published yet.
_POLL = "poll not completed"
_CHANGES = "changes not published"


class PollOutcome:
    """Collects the failures of a poll, and publishes its result.

    Args:
        server: the server's configuration.
        api: its API, which knows its API version and its certificate.
        state: its sessions and its status.
        observer: counts polls.
        now: returns the current moment.
        timestamp: reads the system's wall clock, in Unix seconds.
        publish: receives every new snapshot.
        mark_down: shows the server as down, for this reason, until the next poll ends.

    Attributes:
        failures: those of the poll under way or, between polls, of the last one unless an exception followed it.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        api: Api,
        state: ServerState,
        observer: PollObserver,
        now: Callable[[], Moment],
        timestamp: Callable[[], float],
        publish: Callable[[Snapshot], None],
        mark_down: Callable[[str], None],
    ) -> None:
        self._server = server
        self._api = api
        self._ledger = state.ledger
        self._status_tracker = state.status_tracker
        self._observer = observer
        self._now = now
        self._timestamp = timestamp
        self._publish = publish
        self._mark_down = mark_down
        self._started = now()
        self._counted = False
        self._unpublished: str | None = _POLL
        self._uncompleted_by: str | None = None
        self._logged_between_polls: set[str] = set()
        self.failures: list[PollFailure] = []

    def begin(self, started: Moment) -> None:
        """Start a poll."""
        self._started = started
        self._counted = False
        self._unpublished = _POLL
        self.failures = []

    def tolerate(self, error: Vb365Error) -> None:
        """Record an error that leaves the rest of the poll possible; raise one that does not."""
        if would_recur(error):
            raise error
        self.failures.append(PollFailure.of(error))

    def abort(self, error: Exception, *, stopped: bool) -> None:
        """Record an error that aborts the poll; log unexpected ones, unless the poller is stopped."""
        if isinstance(error, Vb365Error):
            self.failures.append(PollFailure.of(error))
            return
        failure = PollFailure(reason=Reason.INTERNAL, message=type(error).__name__)
        self.failures.append(failure)
        if self._status_tracker.is_new_failure(failure) and not stopped:
            log.error("poll aborted by unexpected error", server=self._server.name, exc_info=error)

    def end(self) -> None:
        """End the poll, and publish its result."""
        failure = self.failures[0] if self.failures else None
        ended = self._now()
        self._ledger.end_poll(ended, succeeded=failure is None)
        self._status_tracker.record_poll(failure, self._started, ended, self._timestamp())
        self._count(failure)
        self.publish_snapshot()
        if self._uncompleted_by is not None:
            log.info("polls complete again", server=self._server.name)
        self._uncompleted_by = None

    def publish_snapshot(self) -> None:
        """Publish the current state."""
        self._unpublished = self._unpublished or _CHANGES
        self._publish(self._ledger.snapshot(self._status_tracker.status(self._api)))
        self._unpublished = None

    def fail_uncompleted(self, error: Exception) -> None:
        """Process an exception from a poll, or from what follows it until the next one.

        If the exception prevented the result of the poll, or a later change, from being published, the server is shown as
        down until the next poll ends. The poll counts as failed only if its own result was not published.
        """
        unpublished = self._unpublished
        self._unpublished = _POLL  # the next one
        if unpublished is None:
            self._prepare_next_poll()
            self._log_between_polls(error)
            return
        message = f"{unpublished}: {type(error).__name__}"
        # Each step is taken even if those before it fail, too.
        try:
            self._mark_down(message)
        finally:
            try:
                if unpublished == _POLL:
                    self._count(PollFailure(reason=Reason.INTERNAL, message=message))
                self._prepare_next_poll()
            finally:
                self._log_uncompleted(unpublished, error)

    def _prepare_next_poll(self) -> None:
        """Forget the last poll, in case the next one fails before it begins."""
        self._counted = False
        self.failures = []

    def _log_between_polls(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._logged_between_polls:
            self._logged_between_polls.add(kind)
            log.error(
                "unexpected error between polls, starting the next poll early",
                server=self._server.name,
                exc_info=error,
            )

    def _log_uncompleted(self, unpublished: str, error: Exception) -> None:
        kind = type(error).__name__
        is_new = kind != self._uncompleted_by
        self._uncompleted_by = kind
        if is_new:
            event = f"{unpublished}, server shown as down until the next poll ends"
            log.error(event, server=self._server.name, exc_info=error)

    def _count(self, failure: PollFailure | None) -> None:
        """Count the poll once, and its first failure once."""
        if not self._counted:
            self._observer.polled(failure.reason if failure else None)
        elif failure is not None and not self.failures:
            self._observer.poll_unpublished()
        self._counted = True
