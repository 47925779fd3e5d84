"""The data of the status page, as plain values that the service provides.

The names of the fields are those of the JSON form, which docs/status-page.md describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One restore session: a row of a table and a mark on the timeline."""

    server: str
    id: str
    organization: str
    type: str
    state: str
    result: str | None
    """None: still running."""
    created: datetime
    ended: datetime | None
    """None: still running, or unknown."""
    duration_seconds: float | None
    """Up to now while running; None: unknown."""
    idle_seconds: float | None = None
    """Time since the last event of a running session; None: unknown, because events are not read."""
    left_open: bool = False
    """Whether the session has been left open (`thresholds.is_left_open`)."""
    configured: bool = False
    """Whether the session's id is configured."""
    items_processed: int | None = None
    items_failed: int | None = None
    """From the session's statistics; None: unknown."""
    info: Mapping[str, str] = field(default_factory=dict)
    """The values of the fields in `StatusPage.info_labels`."""

    @property
    def end(self) -> datetime:
        """The end time or, if it is unknown, its lower bound: the creation time."""
        return self.ended or self.created


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCard:
    """One VB365 server: its health, and the age of its data."""

    name: str
    up: bool | None
    """Whether the last poll succeeded; None: not polled yet."""
    since: datetime | None
    """When the server went up or down."""
    failure_reason: str | None
    """Why the last poll failed: a `reason` of `vb365_poll_failures_total`."""
    failure_message: str | None
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
    """The number of sessions hidden because they have not been confirmed for `stale_after_seconds`."""
    sessions_without_series: int = 0
    sessions_not_kept: int = 0
    ended_last_hour: int = 0
    """The number of sessions that ended within `MANY_FAILED_SECONDS`."""
    failed_last_hour: int = 0
    organizations_failed_last_hour: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSession:
    """A configured id that the server does not know."""

    server: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """An organization of one server."""

    server: str
    organization: str
    last_restored: datetime | None
    """When its last proven restore ended; None: the server lists none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """All data of the status page. Times are aware and in UTC."""

    version: str
    generated: datetime
    servers: tuple[ServerCard, ...]
    running: tuple[SessionRow, ...] = ()
    """Longest-running first: at least as many as the page shows, not necessarily all."""
    running_total: int = 0
    left_open_total: int = 0
    failed: tuple[SessionRow, ...] = ()
    """The sessions that failed within `RECENT_SECONDS`, latest first: not necessarily all `failed_total`."""
    failed_total: int = 0
    finished: tuple[SessionRow, ...] = ()
    """Latest first: at least as many as the page shows, not necessarily all."""
    finished_totals: Mapping[str, int] = field(default_factory=dict)
    """Known finished sessions by result."""
    recent_totals: Mapping[str, int] = field(default_factory=dict)
    """Sessions that ended within `RECENT_SECONDS`, by result."""
    recent_partial: bool = False
    """Whether sessions may be missing from `recent_totals` and `failed_total`, because they are not known."""
    missing: tuple[MissingSession, ...] = ()
    organizations: tuple[Organization, ...] = ()
    """Those without a proven restore come first, then those whose last proven restore is the oldest."""
    organizations_total: int = 0
    info_labels: tuple[str, ...] = ()
    """The session fields with personal data that the configuration allows the page to show."""

    def age(self, moment: datetime) -> float:
        """Return the seconds from a moment to the time of the page's data."""
        return (self.generated - moment).total_seconds()
