"""How a server and the polling of it do, poll after poll; says so in the log when that changes, not at every poll."""

from __future__ import annotations

from dataclasses import replace

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Moment
from exporter.polling.failure import PollFailure
from exporter.polling.snapshot import ServerStatus

__all__ = ["ServerHealth"]

log = structlog.get_logger()


class ServerHealth:
    """Belongs to one poller; `status` is what it says now."""

    def __init__(self, server: ServerConfig) -> None:
        self._server = server
        self._failed_before: PollFailure | None = None
        self.status = ServerStatus(tls_verified=not server.tls_config.insecure_skip_verify)

    def identified(self, version: str) -> None:
        """The server said which version of the product it is; empty when it may not be asked."""
        self.status = replace(self.status, version=version)

    def is_news(self, failure: PollFailure) -> bool:
        """True when the poll before did not fail in just this way."""
        return failure != self._failed_before

    def concluded(
        self, failure: PollFailure | None, begun: Moment, ended: Moment, timestamp: float
    ) -> None:
        """A poll has ended, well or with its first failure, at `timestamp` (Unix seconds)."""
        self._log_change(failure, ended)
        before = self.status
        self.status = replace(
            before,
            up=failure is None,
            failure_reason=failure.reason if failure else None,
            failure_message=failure.message if failure else None,
            failing_since=(before.failing_since or begun.monotonic) if failure else None,
            up_since=None if failure else (before.up_since or begun.monotonic),
            last_poll_timestamp=timestamp,
            last_success_timestamp=before.last_success_timestamp if failure else timestamp,
            last_poll_duration_seconds=ended.monotonic - begun.monotonic,
        )

    def _log_change(self, failure: PollFailure | None, ended: Moment) -> None:
        before = self.status
        if failure is None:
            if before.failing_since is not None:
                log.info(
                    "poll succeeded again",
                    server=self._server.name,
                    failed_for_seconds=round(ended.monotonic - before.failing_since, 1),
                )
            elif before.up is None:
                log.info("first poll succeeded", server=self._server.name, version=before.version)
        elif failure.is_news_after(self._failed_before):
            log.warning(
                "poll failed, what is not confirmed stays until it is stale",
                server=self._server.name,
                reason=failure.reason,
                error=failure.message,
                stale_after_seconds=self._server.stale_after,
            )
        self._failed_before = failure
