"""Anomalies of responses and polls: each kind is logged once, and those that have a metric are counted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from exporter.config import Extra, ServerConfig
from exporter.polling.interfaces import PollObserver
from exporter.vb365.errors import Reason
from exporter.vb365.records.fields import RejectionReason, UnknownValue
from exporter.vb365.records.organization import OrganizationRejection
from exporter.vb365.records.restore_session import Rejection, RestoreSession

log = structlog.get_logger()

_MAX_LOGGED = 200


class Anomalies:
    """Logs each kind of anomaly once, and counts those that have a metric.

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

    def filter_is_late(self) -> None:
        """Record that lists of new sessions begin later than requested."""
        self._warn_once(
            "lists of new sessions lack known ones, requesting them from a day earlier", {}
        )

    def listed_twice(self) -> None:
        """Record that every list shows the same sessions on two pages."""
        self._warn_once("sessions are on two pages of every list, others may be missing", {})

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

    def organization_rejected(self, rejection: OrganizationRejection) -> None:
        """Record a rejected record of an organization."""
        self._observer.rejected(rejection.reason)
        self._warn_once(
            "organization rejected, other organizations are not affected",
            {"reason": rejection.reason, "field": rejection.field},
            organization_id=rejection.id,
        )

    def changes_left_out(self, count: int) -> None:
        """Record changes that the change feed reports, but that are too many to fetch or remember."""
        self._observer.rejected(RejectionReason.TOO_MANY, count)
        self._warn_once(
            "change feed reports more sessions than are fetched between polls, lists find new ones",
            {},
            left_out=count,
        )

    def organizations_left_out(self, count: int) -> None:
        """Record organizations that the server lists, but that are more than are kept."""
        self._observer.rejected(RejectionReason.TOO_MANY, count)
        self._warn_once(
            "server lists more organizations than are kept, some without restore sessions are not shown",
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
