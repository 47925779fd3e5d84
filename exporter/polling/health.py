"""Health of a server, from poll to poll."""

from __future__ import annotations

from dataclasses import replace

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Moment
from exporter.polling.interfaces import Api
from exporter.polling.snapshot import ServerStatus
from exporter.polling.status import PollFailure

log = structlog.get_logger()


class ServerHealth:
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
        """Return the current status; what `api` does not know yet is as a previous one left it."""
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
