"""Failures of polls, the status of a server from poll to poll, and the heartbeat of the poll loop."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Clock, Moment
from exporter.polling.interfaces import Api
from exporter.polling.snapshot import ServerStatus
from exporter.vb365.errors import Reason, Vb365Error, is_server_wide
from exporter.vb365.records.restore_session import Rejection

log = structlog.get_logger()

# Three version probes, a login and the request itself; each may take 6 x timeout.
_REQUESTS_PER_WAIT = 5
_HEARTBEAT_MARGIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollFailure:
    """One failure of a poll."""

    reason: Reason
    message: str
    session_only: bool = False
    """Whether it concerns a single session."""

    @classmethod
    def of(cls, error: Vb365Error) -> PollFailure:
        """Describe a failed request."""
        return cls(reason=error.reason, message=str(error))

    @classmethod
    def of_session(cls, session_id: str, error: Vb365Error | Rejection) -> PollFailure:
        """Describe a session that could not be fetched or read; a server-wide error is described as such."""
        if isinstance(error, Rejection):
            message = f"session {session_id} cannot be read: {error.reason}"
            return cls(reason=Reason.BAD_RESPONSE, message=message, session_only=True)
        if is_server_wide(error):
            return cls.of(error)
        return cls(reason=error.reason, message=f"session {session_id}: {error}", session_only=True)

    @classmethod
    def of_unconfirmed_404(cls, session_id: str) -> PollFailure:
        """Describe a 404 for a session that no list of the same poll confirms."""
        message = (
            f"session {session_id}: get: answered 404, but no list confirms that it was deleted"
        )
        return cls(reason=Reason.NOT_FOUND, message=message, session_only=True)

    def differs_from(self, other: PollFailure | None) -> bool:
        """Whether this failure should be logged after `other`."""
        return (
            other is None or self.reason != other.reason or self.session_only != other.session_only
        )


class StatusTracker:
    """Keeps the status of a server from poll to poll, and logs when it changes.

    Args:
        server: the server's configuration.
    """

    def __init__(self, server: ServerConfig) -> None:
        self._status = ServerStatus()
        self.configure(server)

    def configure(self, server: ServerConfig) -> None:
        """Apply a changed configuration of the same server; its next failed poll is logged like a first one."""
        self._server = server
        self._last_failure: PollFailure | None = None
        self._status = replace(
            self._status, tls_verified=not server.tls_config.insecure_skip_verify
        )

    def status(self, api: Api) -> ServerStatus:
        """Return the current status; what a new `api` does not know yet keeps the value from the previous one."""
        before = self._status
        self._status = replace(
            before,
            api_version=api.api_version or before.api_version,
            certificate_not_after=api.certificate_not_after or before.certificate_not_after,
        )
        return self._status

    @property
    def has_version(self) -> bool:
        """Whether the server's version is known, or the account may not read it."""
        return self._status.version is not None

    def set_version(self, version: str) -> None:
        """Record the product version; empty when the account may not read it."""
        self._status = replace(self._status, version=version)

    def is_new_failure(self, failure: PollFailure) -> bool:
        """Whether the previous poll did not fail with exactly this failure."""
        return failure != self._last_failure

    def record_poll(
        self, failure: PollFailure | None, started: Moment, ended: Moment, timestamp: float
    ) -> None:
        """Record a poll.

        Args:
            failure: its first failure; None if it succeeded.
            started: when it started.
            ended: when it ended.
            timestamp: when it ended, in Unix seconds by the system's clock.
        """
        self._log_change(failure, ended)
        before = self._status
        self._last_failure = failure
        self._status = replace(
            before,
            up=failure is None,
            failure_reason=failure.reason if failure else None,
            failure_message=failure.message if failure else None,
            failing_since=(before.failing_since or started.monotonic) if failure else None,
            up_since=None if failure else (before.up_since or started.monotonic),
            last_poll_timestamp=timestamp,
            last_success_timestamp=before.last_success_timestamp if failure else timestamp,
            last_poll_duration_seconds=ended.monotonic - started.monotonic,
        )

    def _log_change(self, failure: PollFailure | None, ended: Moment) -> None:
        before = self._status
        if failure is not None:
            if failure.differs_from(self._last_failure):
                log.warning(
                    "poll failed, keeping unconfirmed data until it is stale",
                    server=self._server.name,
                    reason=failure.reason,
                    error=failure.message,
                    stale_after_seconds=self._server.stale_after,
                )
        elif before.failing_since is not None:
            log.info(
                "poll succeeded again",
                server=self._server.name,
                failed_for_seconds=round(ended.monotonic - before.failing_since, 1),
            )
        elif before.up is None:
            log.info("first poll succeeded", server=self._server.name, version=before.version)


class Heartbeat:
    """Detects a stuck poll loop.

    Args:
        server: its poll interval and timeout limit how long a healthy loop may wait.
        clock: the process's clocks.
    """

    def __init__(self, server: ServerConfig, clock: Clock) -> None:
        self._clock = clock
        longest_request = _REQUESTS_PER_WAIT * 6 * server.timeout
        self._max_age_seconds = server.poll_interval + longest_request + _HEARTBEAT_MARGIN_SECONDS
        self._last = clock.monotonic()

    def beat(self) -> None:
        """Record that the poll loop is not stuck."""
        self._last = self._clock.monotonic()

    def healthy(self) -> bool:
        """Return False if the last beat is older than the longest wait of a healthy loop."""
        return self._clock.monotonic() - self._last < self._max_age_seconds
