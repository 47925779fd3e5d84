"""Summarizes the evidence of the servers by organization and type."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from itertools import repeat

from exporter.report.collect import Key, Scope, ServerEvidence
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedServer:
    """A server that did not return its complete list, and why."""

    server: str
    reason: str
    """A `reason` of `vb365_poll_failures_total`."""
    message: str


@dataclass(slots=True, kw_only=True)
class TypeSummary:
    """The sessions of one organization and type that belong to the period."""

    type: SessionType
    results: Counter[SessionResult] = field(default_factory=Counter)
    """Finished sessions by result."""
    open: int = 0
    proven: int = 0
    """Sessions that prove a restore."""
    items_processed: int = 0
    durations: array[float] = field(default_factory=lambda: array("d"))
    """The durations of finished sessions in seconds, where known."""
    last_proven: datetime | None = None
    """When the last proven restore ended, whether in the period or before."""

    @property
    def finished(self) -> int:
        """The number of finished sessions."""
        return self.results.total()

    @property
    def sessions(self) -> int:
        """The number of sessions, open ones included."""
        return self.finished + self.open

    @property
    def median_seconds(self) -> float | None:
        """The median duration; None if none is known."""
        return statistics.median(self.durations) if self.durations else None

    @property
    def longest_seconds(self) -> float | None:
        """The longest duration; None if none is known."""
        return max(self.durations, default=None)

    def add(self, session: RestoreSession) -> None:
        """Add a session of the period."""
        if session.result is None:
            self.open += 1
        else:
            self.results[session.result] += 1
        self.proven += session.proves_restore
        self.items_processed += session.processed_items or 0
        if session.duration_seconds is not None:
            self.durations.append(session.duration_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationSummary:
    """One organization of one server."""

    server: str
    organization: str
    types: Sequence[TypeSummary] = ()
    """The types that have sessions in the period or a proven restore, in the order of the enum."""
    has_sessions: bool = True
    """Whether the server lists any session of the organization, of any age."""

    @property
    def last_proven_by_type(self) -> Mapping[SessionType, datetime]:
        """When the last proven restore of each type ended; types without any are absent."""
        return {one.type: one.last_proven for one in self.types if one.last_proven is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All data of a report. Times are aware and in UTC."""

    scope: Scope
    servers: Sequence[ServerEvidence]
    failed_servers: Sequence[FailedServer]
    organizations: Sequence[OrganizationSummary]
    """In the order of the servers, then by name."""
    unknown_organizations: Sequence[str]
    """Organizations in the scope that no server knows."""

    @property
    def is_complete(self) -> bool:
        """Whether every server returned its list, and every record in it could be read."""
        return not self.failed_servers and not any(one.rejected for one in self.servers)

    @property
    def totals(self) -> TypeSummary:
        """The sums over all organizations and types; the type is meaningless."""
        total = TypeSummary(type=SessionType.UNKNOWN)
        for organization in self.organizations:
            for one in organization.types:
                total.results += one.results
                total.open += one.open
                total.proven += one.proven
                total.items_processed += one.items_processed
        return total

    def sessions(self) -> Iterator[tuple[str, RestoreSession]]:
        """Yield the sessions of the period with the names of their servers, newest first."""
        return merge(
            *(zip(repeat(one.server), one.sessions) for one in self.servers),
            key=lambda pair: (pair[1].creation_time, pair[1].id),
            reverse=True,
        )


def summarize(
    scope: Scope, servers: Sequence[ServerEvidence], failed: Sequence[FailedServer] = ()
) -> Report:
    """Return the report on the servers: their evidence, and those that failed."""
    organizations = [summary for one in servers for summary in _organizations(one)]
    known = {one.organization.casefold() for one in organizations}
    return Report(
        scope=scope,
        servers=servers,
        failed_servers=failed,
        organizations=organizations,
        unknown_organizations=[
            name for name in scope.organizations if name.casefold() not in known
        ],
    )


def _organizations(evidence: ServerEvidence) -> Iterator[OrganizationSummary]:
    types: dict[Key, TypeSummary] = {}
    for (organization, type_), ended in evidence.last_proven.items():
        types[organization, type_] = TypeSummary(type=type_, last_proven=ended)
    for session in evidence.sessions:
        key = (session.organization, session.type)
        if key not in types:
            types[key] = TypeSummary(type=session.type)
        types[key].add(session)
    by_organization: dict[str, dict[SessionType, TypeSummary]] = {
        name: {} for name in sorted(evidence.organizations, key=str.casefold)
    }
    for (organization, type_), summary in types.items():
        by_organization[organization][type_] = summary
    for organization, found in by_organization.items():
        yield OrganizationSummary(
            server=evidence.server,
            organization=organization,
            types=[found[one] for one in SessionType if one in found],
            has_sessions=organization in evidence.organizations_listed,
        )
