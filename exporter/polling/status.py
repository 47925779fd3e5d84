"""Failures of polls, anomalies in responses, and the heartbeat of the poll loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from exporter.config import Extra, ServerConfig
from exporter.polling.clock import Clock
from exporter.polling.interfaces import PollObserver
from exporter.vb365.errors import Reason, Vb365Error
from exporter.vb365.records.fields import RejectionReason, UnknownValue
from exporter.vb365.records.restore_session import Rejection, RestoreSession

log = structlog.get_logger()

_SERVER_WIDE = frozenset({Reason.CONNECT, Reason.TLS, Reason.AUTH, Reason.THROTTLED})
_MAX_LOGGED = 200
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


def is_server_wide(error: Vb365Error) -> bool:
    """Whether every other request would fail the same way: no connection, no token, or throttled."""
    return error.reason in _SERVER_WIDE or error.operation == "token"


def would_recur(error: Vb365Error) -> bool:
    """Whether other lists, or other extras of the same kind, would most likely fail the same way, as after a timeout."""
    return is_server_wide(error) or error.reason is Reason.TIMEOUT


class Anomalies:
    """Anomalies in responses: each one is counted, each kind is logged once.

    Args:
        server: the server's configuration.
        observer: counts them.
    """

    def __init__(self, server: ServerConfig, observer: PollObserver) -> None:
        self._server = server
        self._observer = observer
        self._logged: set[tuple[str, ...]] = set()

    def unknown_values(self, values: Iterable[UnknownValue], session_id: str) -> None:
        """Record unknown enum values in a session's record or events."""
        for unknown in values:
            self._observer.unknown_value(unknown.field)
            self._warn_once(
                "unknown enum value, exposed as Unknown",
                {"field": unknown.field, "value": unknown.value},
                session_id=session_id,
            )

    def unknown_id(self, session_id: str) -> None:
        """Record a configured id that the server does not know."""
        self._warn_once(
            "configured session does not exist on the server, requesting it again in every poll",
            {"session_id": session_id},
        )

    def created_ahead(self, session: RestoreSession, server_time: datetime) -> None:
        """Record a session that was created in the future, by the server's own time."""
        self._observer.unknown_value("creation_time")
        self._warn_once(
            "session created in the future by the server's own time, new sessions are found regardless",
            {},
            session_id=session.id,
            creation_time=session.creation_time.isoformat(),
            server_time=server_time.isoformat(timespec="seconds"),
        )

    def clocks_differ(self, server_ahead: timedelta) -> None:
        """Record that the clocks of the server and of this machine are far apart."""
        event = "server's clock differs from this machine's by more than a day, lookback follows the server's"
        self._warn_once(event, {}, server_ahead_seconds=round(server_ahead.total_seconds()))

    def list_cut(self, sessions: int) -> None:
        """Record a list that is too long to be read to its end."""
        self._warn_once(
            "list has more sessions than are read, the oldest are left out",
            {},
            sessions_read=sessions,
        )

    def rejected(self, rejection: Rejection) -> None:
        """Record a rejected record."""
        self._observer.rejected(rejection.reason)
        self._warn_once(
            "record rejected, other records are not affected",
            {"reason": rejection.reason, "field": rejection.field},
            session_id=rejection.session_id,
        )

    def changes_left_out(self, count: int) -> None:
        """Record changes that the change feed reports, but that are too many to fetch or remember."""
        self._observer.rejected(RejectionReason.TOO_MANY, count)
        self._warn_once(
            "change feed reports more sessions than are fetched between polls, lists find new ones",
            {},
            left_out=count,
        )

    def extra_failed(self, session_id: str, extra: Extra, reason: Reason, error: str) -> None:
        """Record a failed request for one extra of a session."""
        self._observer.extra_failed(extra, reason)
        self._warn_once(
            "request for session extra failed, the session itself is not affected",
            {"extra": extra, "reason": reason},
            session_id=session_id,
            error=error,
        )

    def extras_left(self, left: int) -> None:
        """Record that a poll had no time for all extras."""
        self._warn_once(
            "session extras take too long, the rest follows after the next poll", {}, left=left
        )

    def overran(self, seconds: float) -> None:
        """Record a poll that took longer than the poll interval."""
        self._observer.overran()
        self._warn_once(
            "poll took longer than the poll interval, starting the next poll immediately",
            {},
            took_seconds=round(seconds, 1),
            poll_interval_seconds=self._server.poll_interval,
        )

    def _warn_once(self, event: str, kind: dict[str, str], **fields: object) -> None:
        key = (event, *kind.values())
        if key not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(key)
            log.warning(event, server=self._server.name, **kind, **fields)


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
