"""What is strange in a server's answers: counted each time, told in the log once for each kind."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from exporter.config import ServerConfig
from exporter.polling.extras import ExtraRequest
from exporter.polling.interfaces import PollObserver
from exporter.vb365.errors import Reason
from exporter.vb365.records.restore_session import Rejection, UnknownValue

__all__ = ["Anomalies"]

log = structlog.get_logger()

_MOST_ODDITIES = 200


class Anomalies:
    """Counts and tells of what is strange, for one poller.

    Args:
        server: whose answers they are.
        observer: counts.
    """

    def __init__(self, server: ServerConfig, observer: PollObserver) -> None:
        self._server = server
        self._observer = observer
        self._told: set[tuple[str, ...]] = set()

    def unknown_values(self, values: Iterable[UnknownValue], session_id: str) -> None:
        """Enum values are not known."""
        for unknown in values:
            self._observer.unknown_value(unknown.field)
            if self._is_new("unknown", unknown.field, unknown.value):
                log.warning(
                    "unknown value shown as Unknown",
                    server=self._server.name,
                    field=unknown.field,
                    value=unknown.value,
                    session_id=session_id,
                )

    def rejected(self, rejection: Rejection) -> None:
        """A record is no restore session."""
        self._observer.rejected(rejection.reason)
        if self._is_new("rejected", rejection.reason, rejection.field):
            log.warning(
                "record rejected, the others are served",
                server=self._server.name,
                reason=rejection.reason,
                field=rejection.field,
                session_id=rejection.session_id,
            )

    def extra_failed(self, request: ExtraRequest, reason: Reason, error: str) -> None:
        """An extra of a session was not answered."""
        self._observer.extra_failed(request.extra, reason)
        if self._is_new("extra", request.extra, reason):
            log.warning(
                "extra of a session not answered, the session itself is served",
                server=self._server.name,
                extra=request.extra,
                reason=reason,
                session_id=request.session_id,
                error=error,
            )

    def overran(self, seconds: float) -> None:
        """A poll took so long, which is longer than the poll interval."""
        self._observer.overran()
        if self._is_new("overrun"):
            log.warning(
                "poll took longer than the poll interval, the next one follows it",
                server=self._server.name,
                took_seconds=round(seconds, 1),
                poll_interval_seconds=self._server.poll_interval,
            )

    def _is_new(self, *oddity: str) -> bool:
        if oddity in self._told or len(self._told) >= _MOST_ODDITIES:
            return False
        self._told.add(oddity)
        return True
