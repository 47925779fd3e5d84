"""What the status page shows, as plain values that a service fills in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["FailedRestore", "ServerCard", "SessionRow", "StatusPage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One restore session: a row of a table, a mark on the timeline."""

    server: str
    session_id: str
    organization: str
    type: str
    state: str
    result: str | None
    """None while it runs."""
    started: datetime
    ended: datetime | None
    """None: not ended, or nobody knows when."""
    duration_seconds: float | None
    """Until now while it runs; None: not known."""
    info: tuple[str, ...] = ()
    """The values of `StatusPage.info_labels`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCard:
    """One VB365 server: its health, and how old what is known of it is."""

    name: str
    up: bool | None
    """Whether the last poll got everything; None: not polled yet."""
    since: datetime | None
    """Since when it is up, or down."""
    reason: str | None
    """Why the last poll failed: a `reason` of `vb365_poll_failures_total`."""
    detail: str | None
    """What exactly happened then."""
    version: str | None
    api_version: str | None
    tls_verified: bool
    certificate_not_after: datetime | None
    last_poll: datetime | None
    last_success: datetime | None
    data_age_seconds: float | None
    """Since the oldest of what is shown was confirmed; None: nothing is shown."""
    poll_interval_seconds: float
    stale_after_seconds: float
    sessions_known: int
    sessions_stale: int = 0
    """Not shown any more, because nothing has confirmed them for `stale_after_seconds`."""
    sessions_without_series: int = 0
    sessions_not_kept: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRestore:
    """The newest failed restore of an organization."""

    server: str
    organization: str
    ended: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Everything the status page shows. Times are aware and in UTC."""

    version: str
    generated: datetime
    servers: tuple[ServerCard, ...]
    running: tuple[SessionRow, ...] = ()
    """The longest-running first; at least as many as are shown, not necessarily all."""
    running_total: int = 0
    long_running_total: int = 0
    """How many have been open for `LONG_RUNNING_SECONDS`."""
    finished: tuple[SessionRow, ...] = ()
    """The last to end first; at least as many as are shown, not necessarily all."""
    finished_totals: tuple[tuple[str, int], ...] = ()
    """How many of all that is known ended with which result."""
    recent_failures: tuple[FailedRestore, ...] = ()
    """The organizations of which a restore failed within `RECENT_SECONDS`, newest first."""
    info_labels: tuple[str, ...] = ()
    """The personal data that the configuration allows to show: fields of a session."""
