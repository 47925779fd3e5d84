"""The immutable state of one server, as of a poll or of a change between polls, and when each part was last confirmed.

`Snapshot.without_stale()` drops stale parts, so that data disappears on time even while the poller hangs in a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from types import MappingProxyType
from typing import Any

from exporter.config import Extra
from exporter.polling.blocks import Block
from exporter.vb365.errors import Reason
from exporter.vb365.records.extras import EventOperation
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType

StartedKey = tuple[str, SessionType]
"""Organization and type: the key of `vb365_restore_sessions_started_total`."""

FinishedKey = tuple[str, SessionType, SessionResult]
"""Organization, type and result: the key of all counts of finished sessions."""

RestoredItemsKey = tuple[str, SessionType, str]
"""Organization, type and outcome: the key of `vb365_restored_items_total`."""

EventBytesKey = tuple[str, SessionType, EventOperation]
"""Organization, type and operation: the key of `vb365_restore_event_bytes_total`."""

DURATION_BUCKETS_SECONDS = (10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400, 259200)
"""From a quick look into a mailbox to an Explorer left open for days."""


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSession:
    """A session that was running when it was last fetched."""

    session: RestoreSession
    confirmed_at: float
    """Monotonic seconds of the response."""
    configured: bool
    """Whether its id is configured; then the limit on series does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredId:
    """Whether a configured id exists on the server."""

    session_id: str
    found: bool
    confirmed_at: float
    """Monotonic seconds of the last response that confirmed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationHistogram:
    """Durations of finished sessions of one type."""

    counts: tuple[int, ...] = (0,) * (len(DURATION_BUCKETS_SECONDS) + 1)
    """Sessions per bucket of `DURATION_BUCKETS_SECONDS`, not cumulative; the last count is of longer sessions."""
    sum_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Everything the exporter saw happen since it started; counts never decrease."""

    organizations: tuple[str, ...] = ()
    """Every organization that sessions name or that the server lists."""
    started: Mapping[StartedKey, int] = field(default_factory=_empty)
    finished: Mapping[FinishedKey, int] = field(default_factory=_empty)
    durations: Mapping[SessionType, DurationHistogram] = field(default_factory=_empty)
    extras: tuple[Extra, ...] = ()
    """The extras that are fetched; those of finished sessions make up the following totals."""
    restored_items: Mapping[RestoredItemsKey, int] = field(default_factory=_empty)
    event_bytes: Mapping[EventBytesKey, int] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """Health of the server and of its polls."""

    up: bool | None = None
    """Whether the last poll got everything it requested and none of it is stale; None until the first poll has ended."""
    failure_reason: str | None = None
    """`reason` of the first failure of the last poll."""
    failure_message: str | None = None
    """Message of the same failure."""
    failing_since: float | None = None
    """Monotonic start of the first poll in the current run of failures."""
    up_since: float | None = None
    """Monotonic start of the first poll in the current run of successes."""
    version: str | None = None
    """`version` of ServiceInstance; empty when the account may not read it."""
    api_version: str | None = None
    tls_verified: bool = True
    certificate_not_after: datetime | None = None
    last_poll_timestamp: float | None = None
    """Unix seconds of the end of the last poll."""
    last_success_timestamp: float | None = None
    last_poll_duration_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Immutable state of one server, as of its last poll and of what was fetched since."""

    server: str
    status: ServerStatus = ServerStatus()
    stale_after_seconds: float = inf
    max_series: int = 0

    running: tuple[RunningSession, ...] = ()
    """All running sessions, newest first; `running_with_series` are those that get series."""
    working_unknown: frozenset[StartedKey] = frozenset()
    """Where running sessions were dropped as stale, so that it is unknown how many run."""
    finished: tuple[Block, ...] = ()
    """All finished sessions; `finished_with_series` are those that get series."""
    finished_with_series: tuple[Block, ...] = ()
    finished_confirmed_at: float = -inf
    """Monotonic seconds of the response that last confirmed the finished ones."""
    configured_ids: tuple[ConfiguredId, ...] = ()

    stopped: Mapping[FinishedKey, int] = field(default_factory=_empty)
    """Number of finished sessions; combinations without sessions are absent."""
    last_end: Mapping[FinishedKey, datetime] = field(default_factory=_empty)
    """The newest `endTime`."""
    last_restored: Mapping[StartedKey, datetime] = field(default_factory=_empty)
    """The newest `endTime` of the sessions that prove a restore, among all that the server lists."""
    list_confirmed_at: float = -inf
    """Monotonic seconds of the last list read to its end; the gauges of organizations depend on it."""
    activity: Activity = Activity()

    sessions_listed: int | None = None
    """How many sessions the last full list had; None before the first, and without discovery."""
    sessions_known: int = 0
    sessions_without_series: int = 0
    sessions_not_kept: int = 0

    @property
    def listed(self) -> bool:
        """Whether a list confirms the gauges of organizations."""
        return self.list_confirmed_at > -inf

    @property
    def running_with_series(self) -> tuple[RunningSession, ...]:
        """The running sessions that get series."""
        return with_series(self.running, self.max_series)

    @property
    def stale_at(self) -> float:
        """Monotonic seconds at which the first part becomes stale; infinite if none can."""
        confirmations = [one.confirmed_at for one in self.running]
        confirmations += [one.confirmed_at for one in self.configured_ids]
        if self.finished_confirmed_at > -inf:
            confirmations.append(self.finished_confirmed_at)
        if self.listed:
            confirmations.append(self.list_confirmed_at)
        return min(confirmations, default=inf) + self.stale_after_seconds

    def without_stale(self, now: float) -> Snapshot:
        """Return the snapshot without the parts that are stale at `now` (monotonic seconds), or itself if none is.

        Counters and the server's status never become stale, but a server with stale data is down, however its last poll
        went: missing series must not look as if the sessions had ended.
        """
        stale_at = self.stale_at
        if now < stale_at:
            return self
        oldest = now - self.stale_after_seconds
        dropped = (one.session for one in self.running if one.confirmed_at <= oldest)
        finished_fresh = self.finished_confirmed_at > oldest
        listed_fresh = self.list_confirmed_at > oldest
        return replace(
            self.down("its data became stale before a poll ended", since=stale_at)
            if self.status.up
            else self,
            running=tuple(running for running in self.running if running.confirmed_at > oldest),
            working_unknown=self.working_unknown.union(
                (session.organization, session.type) for session in dropped
            ),
            finished=self.finished if finished_fresh else (),
            finished_with_series=self.finished_with_series if finished_fresh else (),
            finished_confirmed_at=self.finished_confirmed_at if finished_fresh else -inf,
            configured_ids=tuple(one for one in self.configured_ids if one.confirmed_at > oldest),
            stopped=self.stopped if listed_fresh else _empty(),
            last_end=self.last_end if listed_fresh else _empty(),
            last_restored=self.last_restored if listed_fresh else _empty(),
            list_confirmed_at=self.list_confirmed_at if listed_fresh else -inf,
        )

    def down(self, message: str, *, since: float) -> Snapshot:
        """Return the snapshot with the server shown as down because of the exporter, whatever the last poll showed.

        Args:
            message: the cause.
            since: monotonic seconds.
        """
        status = replace(
            self.status,
            up=False,
            failure_reason=Reason.INTERNAL,
            failure_message=message,
            failing_since=since,
            up_since=None,
        )
        return replace(self, status=status)


def with_series(running: Iterable[RunningSession], max_series: int) -> tuple[RunningSession, ...]:
    """Return the configured sessions and the first `max_series` others, in the given order."""
    room = max_series
    chosen = []
    for one in running:
        if not one.configured:
            if room == 0:
                continue
            room -= 1
        chosen.append(one)
    return tuple(chosen)
