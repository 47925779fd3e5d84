"""Requests for the product version and the organizations of a server, both hourly."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import structlog

from exporter.config import ServerConfig
from exporter.polling.anomalies import Anomalies
from exporter.polling.clock import Clock, Moment
from exporter.polling.health import Heartbeat
from exporter.polling.interfaces import Api
from exporter.polling.plan import RESYNC_SECONDS
from exporter.polling.server_state import ServerState
from exporter.vb365.errors import ForbiddenError, Reason, StoppedError, Vb365Error

log = structlog.get_logger()

# Most likely the response to an early retry as well.
_LASTING = frozenset({Reason.FORBIDDEN, Reason.NOT_FOUND, Reason.BAD_RESPONSE})
_RETRY_SECONDS = 600.0
# If polls always overrun, there is never time for the organizations: once an hour, their request may delay the next poll.
_OVERDUE_INTERVALS = 3
_OVERDUE_REQUEST_SECONDS = 5.0


class ServerDetails:
    """Fetches a server's version and organizations.

    Organizations are optional: a failure changes neither the poll nor `vb365_up`, and each kind is logged once.

    Args:
        server: the server's configuration.
        api: its API.
        state: takes the version and the organizations.
        anomalies: logs and counts organizations that cannot be read or are left out.
        clock: the process's clocks.
        heartbeat: shows that the poll loop is not stuck.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        api: Api,
        state: ServerState,
        anomalies: Anomalies,
        clock: Clock,
        heartbeat: Heartbeat,
    ) -> None:
        self._server = server
        self._api = api
        self._status_tracker = state.status_tracker
        self._organizations = state.ledger.activity.organizations
        self._anomalies = anomalies
        self._clock = clock
        self._heartbeat = heartbeat
        self._version_due_at = self._organizations_due_at = -inf
        self._delay_allowed_at = -inf
        self._logged: set[Reason] = set()

    def fetch_version(self) -> None:
        """Fetch the product version.

        Raises:
            Vb365Error: the request failed.
        """
        self._status_tracker.set_version(self._api.product_version())
        self._heartbeat.beat()

    def fetch_version_if_due(self, started: Moment, tolerate: Callable[[Vb365Error], None]) -> None:
        """Fetch the version hourly, in a poll that also requests lists; a 403 does not fail such a poll.

        Args:
            started: when the poll started.
            tolerate: called with an error; raises it if the poll cannot continue.
        """
        if self._status_tracker.has_version and started.monotonic < self._version_due_at:
            return
        self._version_due_at = started.monotonic + RESYNC_SECONDS
        try:
            self.fetch_version()
        except ForbiddenError:
            self._status_tracker.set_version("")
        except Vb365Error as error:
            tolerate(error)

    def fetch_organizations(self, until: float) -> bool:
        """Fetch the organizations hourly, with discovery; return whether they have changed.

        Once an hour, if the request was never made or is more than three poll intervals overdue, it may take five seconds
        although the next poll is due.

        Args:
            until: when the request is aborted, in monotonic seconds, unless it is overdue.
        """
        now = self._clock.monotonic()
        if not self._server.sessions.discover or now < self._organizations_due_at:
            return False
        if now >= until:
            if not self._is_delay_allowed(now):
                return False
            self._delay_allowed_at = now + RESYNC_SECONDS
            until = now + _OVERDUE_REQUEST_SECONDS
        self._organizations_due_at = now + RESYNC_SECONDS
        try:
            organizations = self._api.organizations(
                until=until, on_rejected=self._anomalies.organization_rejected
            )
        except StoppedError:
            return False
        except Vb365Error as error:
            if error.reason not in _LASTING:
                self._organizations_due_at = now + _RETRY_SECONDS
            self._log_failure(error)
            return False
        finally:
            self._heartbeat.beat()
        if not self._organizations.believes(organizations):
            self._organizations_due_at = now
            return False
        has_changed = self._organizations.set_listed(organizations)
        if left_out := self._organizations.left_out:
            self._anomalies.organizations_left_out(left_out)
        return has_changed

    def _is_delay_allowed(self, now: float) -> bool:
        overdue_seconds = now - self._organizations_due_at
        return (
            overdue_seconds > _OVERDUE_INTERVALS * self._server.poll_interval
            and now >= self._delay_allowed_at
        )

    def _log_failure(self, error: Vb365Error) -> None:
        if error.reason not in self._logged:
            self._logged.add(error.reason)
            log.warning(
                "organizations unavailable, those without restore sessions are not shown",
                server=self._server.name,
                reason=error.reason,
                error=str(error),
            )
