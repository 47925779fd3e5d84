"""What is known of one server at one moment: the immutable result of a poll.

A snapshot knows how long each of its statements may still be made. `fresh()` gives what is left of it at a later
moment, so that data ends on time even while its poller hangs in a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from types import MappingProxyType
from typing import Any

from exporter.polling.blocks import Block
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType

__all__ = [
    "DURATION_BUCKETS_SECONDS",
    "Activity",
    "ConfiguredId",
    "DurationHistogram",
    "FinishedKey",
    "RunningSession",
    "ServerStatus",
    "Snapshot",
    "StartedKey",
    "with_series",
]

StartedKey = tuple[str, SessionType]
"""Organization and type: the key of `vb365_restore_sessions_started_total`."""

FinishedKey = tuple[str, SessionType, SessionResult]
"""Organization, type and result: the key of everything that is told of ended sessions."""

DURATION_BUCKETS_SECONDS = (10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400, 259200)
"""From a look into a mailbox to an Explorer left open for days."""


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSession:
    """A session that was running when it was last asked for."""

    session: RestoreSession
    confirmed_at: float
    """Monotonic seconds of the answer that said so."""
    configured: bool
    """True when the configuration names it: then no limit on series applies to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredId:
    """Whether a configured id exists on the server."""

    session_id: str
    found: bool
    confirmed_at: float
    """Monotonic seconds of the last answer that vouched for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationHistogram:
    """Durations of finished sessions of one type: a count per bucket of `DURATION_BUCKETS_SECONDS`, not cumulated."""

    counts: tuple[int, ...]
    """One more than there are buckets: the last is for what is longer than all."""
    sum_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What was seen to happen since the exporter started; never goes back."""

    organizations: tuple[str, ...] = ()
    """Every organization ever seen on the server."""
    started: Mapping[StartedKey, int] = field(default_factory=_nothing)
    finished: Mapping[FinishedKey, int] = field(default_factory=_nothing)
    durations: Mapping[SessionType, DurationHistogram] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """How the server and the polling of it do."""

    up: bool | None = None
    """Whether the last poll got everything it asked for; None until the first poll has ended."""
    failure_reason: str | None = None
    """The first `reason` of the last poll when it failed."""
    failure_message: str | None = None
    """The same in words."""
    failing_since: float | None = None
    """Monotonic seconds of the first of the polls that failed in a row."""
    up_since: float | None = None
    """Monotonic seconds of the first of the polls that succeeded in a row."""
    version: str | None = None
    """`version` of ServiceInstance."""
    api_version: str | None = None
    tls_verified: bool = True
    certificate_not_after: datetime | None = None
    last_poll_timestamp: float | None = None
    """Unix seconds at which the last poll ended."""
    last_success_timestamp: float | None = None
    last_poll_duration_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that may be said of one server."""

    server: str
    status: ServerStatus = ServerStatus()
    stale_after_seconds: float = inf
    max_series: int = 0

    running: tuple[RunningSession, ...] = ()
    """All that run, newest first; `running_with_series` are those that get series."""
    finished: tuple[Block, ...] = ()
    """Finished sessions that get series."""
    finished_confirmed_at: float = -inf
    """Monotonic seconds of the answer that last confirmed the finished ones."""
    configured_ids: tuple[ConfiguredId, ...] = ()

    stopped: Mapping[FinishedKey, int] = field(default_factory=_nothing)
    """How many sessions have ended; combinations that are not there have not happened."""
    last_end: Mapping[FinishedKey, datetime] = field(default_factory=_nothing)
    """The newest `endTime`."""
    list_confirmed_at: float = -inf
    """Monotonic seconds of the last list that answered in full; what is said of organizations rests on it."""
    activity: Activity = Activity()

    sessions_known: int = 0
    sessions_without_series: int = 0
    sessions_not_kept: int = 0

    @property
    def listed(self) -> bool:
        """True while a list vouches for the gauges of organizations."""
        return self.list_confirmed_at > -inf

    @property
    def running_with_series(self) -> tuple[RunningSession, ...]:
        """Those of `running` that get series."""
        return with_series(self.running, self.max_series)

    @property
    def expires_at(self) -> float:
        """Monotonic seconds at which the first of its statements gets too old; infinite when none can."""
        confirmations = [running.confirmed_at for running in self.running]
        confirmations += [found.confirmed_at for found in self.configured_ids]
        if self.finished_confirmed_at > -inf:
            confirmations.append(self.finished_confirmed_at)
        if self.listed:
            confirmations.append(self.list_confirmed_at)
        return min(confirmations, default=inf) + self.stale_after_seconds

    def without_stale(self, now: float) -> Snapshot:
        """What may still be said at `now` (monotonic seconds): itself, or itself without what got too old.

        Counters and the state of the server stay: they say what the exporter itself did and saw.
        """
        if now < self.expires_at:
            return self
        oldest = now - self.stale_after_seconds
        finished_fresh = self.finished_confirmed_at > oldest
        listed_fresh = self.list_confirmed_at > oldest
        return replace(
            self,
            running=tuple(running for running in self.running if running.confirmed_at > oldest),
            finished=self.finished if finished_fresh else (),
            finished_confirmed_at=self.finished_confirmed_at if finished_fresh else -inf,
            configured_ids=tuple(
                found for found in self.configured_ids if found.confirmed_at > oldest
            ),
            stopped=self.stopped if listed_fresh else _nothing(),
            last_end=self.last_end if listed_fresh else _nothing(),
            list_confirmed_at=self.list_confirmed_at if listed_fresh else -inf,
        )


def with_series(running: Iterable[RunningSession], max_series: int) -> tuple[RunningSession, ...]:
    """Of these sessions, newest first, the configured ones and the newest of the others up to `max_series`."""
    room = max_series
    chosen = []
    for one in running:
        if not one.configured:
            if room == 0:
                continue
            room -= 1
        chosen.append(one)
    return tuple(chosen)
