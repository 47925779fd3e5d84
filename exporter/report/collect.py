"""Collects the evidence of one server: reads its full list, and keeps only the sessions of the period."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, TypeAlias

import structlog

from exporter.config import Extra, ServerConfig
from exporter.polling.full_list import FullList, read_full_list
from exporter.polling.parallel_requests import ParallelRequests
from exporter.polling.server_time import is_ahead
from exporter.text import label_value
from exporter.vb365.client import Client
from exporter.vb365.errors import Vb365Error, would_recur
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.organization import without_sessions
from exporter.vb365.records.restore_session import RestoreSession, SessionType

log = structlog.get_logger()

_MAX_SESSIONS_WITH_EXTRAS = 2_000
_EXTRAS_SECONDS = 300.0
_ORGANIZATIONS_SECONDS = 60.0

Key: TypeAlias = tuple[str, SessionType]
"""An organization and a session type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a report covers."""

    since: datetime
    until: datetime
    organizations: tuple[str, ...] = ()
    """The organizations to report on, case-insensitive; empty for all."""
    info_labels: tuple[str, ...] = ()
    """The session fields with personal data that the configuration allows."""

    def includes_organization(self, organization: str) -> bool:
        """Whether the report covers this organization."""
        wanted = {name.casefold() for name in self.organizations}
        return not wanted or organization.casefold() in wanted

    def is_in_period(self, session: RestoreSession) -> bool:
        """Whether a session belongs to the period, whatever its organization: it ended in the period, or is still running.

        Of successive periods, only one includes a finished session. If the session has no `endTime`, `creationTime`
        decides.
        """
        return not session.stopped or (session.ended_at or session.creation_time) >= self.since


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvidence:
    """What one server returned. Organizations are label values."""

    server: str
    version: str = ""
    """The version of VB365; empty if unknown."""
    api_version: str | None = None
    sessions: Sequence[RestoreSession] = ()
    """The sessions of the period, newest first, without fields that the report must not show."""
    last_proven: Mapping[Key, datetime] = field(default_factory=dict)
    """When the last proven restore in the whole list ended."""
    organizations: tuple[str, ...] = ()
    """The organizations of the scope that the server knows or that a listed session has."""
    organizations_listed: frozenset[str] = frozenset()
    """All organizations that a listed session of any age has, in the scope or not."""
    organizations_known: bool = True
    """Whether the server returned its organizations, so that those without sessions are included."""
    listed: int = 0
    """The number of sessions in the list, of any age and organization."""
    oldest: datetime | None = None
    """When the oldest session of the list was opened."""
    rejected: int = 0
    """The number of records in the list that could not be read."""
    without_extras: int = 0
    """The number of sessions of the period whose configured extras are incomplete."""


def collect(
    server: ServerConfig,
    client: Client,
    scope: Scope,
    stop: threading.Event,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> ServerEvidence:
    """Read a server's full list, its organizations, and the extras of the newest sessions of the period.

    Only the list is required. Anything else that cannot be read is logged, and the evidence shows that it is missing.

    Raises:
        BadResponseError: the list is too long, endless or too slow.
        Vb365Error: the list could not be read completely.
    """
    listing = read_full_list(
        client, lambda: _Listing(scope, lambda: client.server_time), clock=clock
    )
    for reason, records in listing.rejected.items():
        log.warning(
            "records rejected, reporting the others",
            server=server.name,
            reason=reason,
            records=records,
        )
    version = _version(server, client)
    silent = _silent_organizations(server, client, listing.organizations)
    sessions = sorted(
        listing.sessions, key=lambda session: (session.creation_time, session.id), reverse=True
    )
    without_extras = _add_extras(server, client, sessions, stop)
    for session in sessions:
        listing.record_proof(session)
    listed = frozenset(listing.organizations.values())
    return ServerEvidence(
        server=server.name,
        version=version,
        api_version=client.api_version,
        sessions=sessions,
        last_proven=listing.last_proven,
        organizations=tuple(filter(scope.includes_organization, listed.union(silent or ()))),
        organizations_listed=listed,
        organizations_known=silent is not None,
        listed=listing.listed,
        oldest=listing.oldest,
        rejected=listing.rejected.total(),
        without_extras=without_extras,
    )


class _Listing(FullList):
    """Keeps the sessions that belong to the report, and of the others only what they prove.

    Args:
        scope: what the report covers.
        now: returns the server's own time; None if the server does not send it.
    """

    def __init__(self, scope: Scope, now: Callable[[], datetime | None]) -> None:
        super().__init__(self._keep_in_scope)
        self._scope = scope
        self._now = now
        self._hidden: dict[str, Any] = dict.fromkeys(
            {"name", "initiated_by", "scope_name", "client_host", "reason"} - {*scope.info_labels},
            "",
        )
        self.last_proven: dict[Key, datetime] = {}
        self.organizations: dict[str, str] = {}
        """The label value of each organization; the names are texts, too."""
        self.oldest: datetime | None = None

    def _keep_in_scope(self, session: RestoreSession) -> RestoreSession | None:
        created = session.creation_time
        self.oldest = created if self.oldest is None else min(self.oldest, created)
        name = self.organizations.get(session.organization)
        if name is None:
            name = label_value(session.organization)
            self.organizations[session.organization] = name
            self.texts.add(RestoreSession(*session[:4], organization=session.organization))
        if not self._scope.includes_organization(name):
            return None
        if self._scope.is_in_period(session):
            return session._replace(organization=name, **self._hidden)
        self.record_proof(session._replace(organization=name))
        return None

    def record_proof(self, session: RestoreSession) -> None:
        """Record the end of a session if it proves a restore and is not ahead of the server's own time."""
        ended = session.ended_at
        if not session.proves_restore or ended is None:
            return
        if not is_ahead(ended, self._now() or self._scope.until):
            key = (session.organization, session.type)
            self.last_proven[key] = max(ended, self.last_proven.get(key, ended))


def _version(server: ServerConfig, client: Client) -> str:
    try:
        return client.product_version()
    except Vb365Error as error:
        log.warning("product version unknown", server=server.name, error=str(error))
        return ""


def _silent_organizations(
    server: ServerConfig, client: Client, listed: Iterable[str]
) -> set[str] | None:
    """Return the labels of the organizations that no session names; None if they cannot be read."""
    try:
        organizations = client.organizations(until=time.monotonic() + _ORGANIZATIONS_SECONDS)
    except Vb365Error as error:
        log.warning("organizations unknown", server=server.name, error=str(error))
        return None
    known = {name.casefold() for name in listed}
    return {label_value(one.label) for one in without_sessions(organizations, known)}


def _add_extras(
    server: ServerConfig, client: Client, sessions: list[RestoreSession], stop: threading.Event
) -> int:
    """Add the configured extras to the newest sessions, in place; return how many sessions lack some."""
    extras: list[Extra] = [
        extra for extra in server.sessions.extras if extra != "statistics" or client.has_statistics
    ]
    if not extras:
        return 0
    missing = {place: len(extras) for place in range(len(sessions))}
    until = time.monotonic() + _EXTRAS_SECONDS
    first_error = ""

    def read(request: tuple[int, Extra]) -> Statistics | EventSummary | None:
        place, extra = request
        if extra == "statistics":
            return client.statistics(sessions[place].id, until=until)
        return client.events(sessions[place].id).read(until)

    parallel = ParallelRequests(
        server.max_concurrent_requests, name=f"report-{server.name}", stop=stop
    )
    newest = range(min(len(sessions), _MAX_SESSIONS_WITH_EXTRAS))
    for (place, extra), result in parallel.fetch_all(
        [(place, extra) for place in newest for extra in extras],
        read,
        until=until,
        group=itemgetter(1),
        ends_group=would_recur,
    ):
        if isinstance(result, Vb365Error):
            first_error = first_error or str(result)
        elif result is not None:
            sessions[place] = sessions[place].with_extra(extra, result)
            if isinstance(result, EventSummary) and result.unreadable:
                first_error = first_error or f"{result.unreadable} records are not events"
            else:
                missing[place] -= 1
    without = sum(count > 0 for count in missing.values())
    if without:
        log.warning(
            "sessions without extras", server=server.name, sessions=without, error=first_error
        )
    return without
