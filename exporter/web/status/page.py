"""The data of the status page, as plain values that the service provides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One restore session: a row of a table and a mark on the timeline."""

    server: str
    session_id: str
    organization: str
    type: str
    state: str
    result: str | None
    """None: still running."""
    started: datetime
    ended: datetime | None
    """None: still running, or unknown."""
    duration_seconds: float | None
    """Up to now while running; None: unknown."""
    info: tuple[str, ...] = ()
    """The values of the fields in `StatusPage.info_labels`, in the same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCard:
    """One VB365 server: its health and the age of its data."""

    name: str
    up: bool | None
    """Whether the last poll succeeded; None: not polled yet."""
    since: datetime | None
    """When the server went up or down."""
    reason: str | None
    """Why the last poll failed: a `reason` of `vb365_poll_failures_total`."""
    detail: str | None
    """The error message of that poll."""
    version: str | None
    api_version: str | None
    tls_verified: bool
    certificate_not_after: datetime | None
    last_poll: datetime | None
    last_success: datetime | None
    data_age_seconds: float | None
    """Time since the confirmation of the oldest data shown; None: no data is shown."""
    poll_interval_seconds: float
    stale_after_seconds: float
    sessions_known: int
    sessions_stale: int = 0
    """Sessions hidden because they have not been confirmed for `stale_after_seconds`."""
    sessions_without_series: int = 0
    sessions_not_kept: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRestore:
    """The latest failed restore of one organization."""

    server: str
    organization: str
    ended: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """All data of the status page. Times are aware and in UTC."""

    version: str
    generated: datetime
    servers: tuple[ServerCard, ...]
    running: tuple[SessionRow, ...] = ()
    """Longest-running first: at least as many as the page shows, not necessarily all."""
    running_total: int = 0
    long_running_total: int = 0
    """Sessions that have been open for at least `LONG_RUNNING_SECONDS`."""
    finished: tuple[SessionRow, ...] = ()
    """Latest first: at least as many as the page shows, not necessarily all."""
    finished_totals: tuple[tuple[str, int], ...] = ()
    """Known finished sessions by result."""
    recent_failures: tuple[FailedRestore, ...] = ()
    """The organizations whose latest failure is within `RECENT_SECONDS`, latest first."""
    info_labels: tuple[str, ...] = ()
    """The session fields with personal data that the configuration allows the page to show."""
