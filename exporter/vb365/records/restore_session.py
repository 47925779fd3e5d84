"""A restore session as VB365 describes it, parsed from untrusted JSON.

In addition to the rules in `fields`:

* A session needs a valid `id` and `creationTime`.
* Unknown enum values do not make a record unusable: a session with an unknown state can be followed, a hidden one is
  missed.
* An `endTime` that is absent, null, in year 1 or in year 9999 means "not ended", in all versions of the server.

Source of every field: the restore session resource, `GET /v6/RestoreSessions/{restoreSessionId}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.fields import (
    BadFieldError,
    EnumReader,
    Record,
    RejectionReason,
    UnknownValue,
    read_integer,
    read_session_id,
    read_strings,
    read_time,
)


class SessionType(StrEnum):
    """The Veeam Explorer that the session was opened with (`type`)."""

    VEX = "Vex"
    VEOD = "Veod"
    VESP = "Vesp"
    VET = "Vet"
    UNKNOWN = "Unknown"


class SessionState(StrEnum):
    """The `state` of a session, which is running until it is Stopped."""

    WORKING = "Working"
    STOPPED = "Stopped"
    UNKNOWN = "Unknown"


class SessionResult(StrEnum):
    """How the session ended (`result`)."""

    SUCCESS = "Success"
    WARNING = "Warning"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class RestoreSession(NamedTuple):
    """One restore session: from opening a Veeam Explorer to closing it.

    Times are aware and in UTC. Strings that the API omits are empty. It is a named tuple because creating a frozen
    dataclass of this many fields takes three times as long, and there may be 200,000 sessions.
    """

    id: str
    """`id`, in lower case."""
    type: SessionType
    state: SessionState
    creation_time: datetime
    """`creationTime`: when the Explorer was opened."""
    end_time: datetime | None = None
    """`endTime`; None if it means "not ended"."""
    result: SessionResult | None = None
    """`result`; None until the session is Stopped, because the result of a running session is meaningless."""
    organization: str = ""
    name: str = ""
    initiated_by: str = ""
    """`initiatedBy`: the account, or the organization of a restore through Cloud Connect."""
    details: str = ""
    scope_name: str = ""
    client_host: str = ""
    """`clientHost`, unchanged: `HOST (via: IP)`."""
    reason: str = ""
    e_tag: int | None = None
    """`eTag` (v8): grows whenever the session changes."""
    unknown_values: tuple[UnknownValue, ...] = ()
    statistics: Statistics | None = None
    """The last known `Statistics` of the session; None if they were never requested or never received."""
    events: EventSummary | None = None
    """The last known totals of its `Events`; None likewise."""

    @property
    def stopped(self) -> bool:
        """Whether the session has finished; in any other state, even an unknown one, it is running."""
        return self.state is SessionState.STOPPED

    @property
    def is_written(self) -> bool:
        """Whether a finished session has all that a server writes at its end, perhaps a moment after `state`."""
        return self.end_time is not None and bool(self.details)

    @property
    def ended_at(self) -> datetime | None:
        """`endTime`; None while running, whatever the API sends."""
        return self.end_time if self.stopped else None

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from `creationTime` to `endTime`.

        None while running, if Stopped without an `endTime`, and if `endTime` is before `creationTime`.
        """
        if self.ended_at is None or self.ended_at < self.creation_time:
            return None
        return (self.ended_at - self.creation_time).total_seconds()

    def elapsed_seconds(self, now: datetime) -> float | None:
        """Return the duration; for a running session, the time since `creationTime`."""
        if self.stopped:
            return self.duration_seconds
        return (now - self.creation_time).total_seconds()

    @property
    def processed_items(self) -> int | None:
        """The N of "N items processed" at the start of `details`; None if `details` has another form."""
        match = _PROCESSED_ITEMS.match(self.details)
        return int(match[1]) if match else None

    @property
    def proves_restore(self) -> bool:
        """Whether the session proves a restore: it ended with Success or Warning, and at least one item was restored.

        Statistics and events decide where they are known; otherwise `processed_items` does. A session without an
        `endTime` proves nothing, because it does not show when.
        """
        if self.ended_at is None or self.result not in _PROVING:
            return False
        known = [
            extra.restored
            for extra in (self.statistics, self.events)
            if extra is not None and extra.restored is not None
        ]
        return any(known) if known else bool(self.processed_items)

    def has_ended_again_since(self, earlier: RestoreSession) -> bool:
        """Whether a finished session was reopened after an earlier record of it, also finished, and has ended again.

        Then it has another `endTime` or, as it may have none, other `details`.
        """
        return self.end_time not in (None, earlier.end_time) or self.details != earlier.details

    def without_extras(self) -> RestoreSession:
        """Return a copy whose extras are unknown."""
        return self._replace(statistics=None, events=None)

    def with_extra(
        self, extra: Literal["statistics", "events"], value: Statistics | EventSummary | None
    ) -> RestoreSession:
        """Return a copy with one of the extras replaced."""
        changes: dict[str, Any] = {extra: value}
        return self._replace(**changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A rejected record: the reason, and what is known of it."""

    reason: RejectionReason
    field: str = ""
    """The invalid field, as the API names it; empty if the record is not an object."""
    session_id: str = ""
    """The record's id; empty if it has no valid one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of restore sessions."""

    sessions: tuple[RestoreSession, ...]
    rejections: tuple[Rejection, ...]

    @property
    def ids(self) -> set[str]:
        """The ids of all its records that have a valid one."""
        ids = {session.id for session in self.sessions}
        return ids.union(one.session_id for one in self.rejections if one.session_id)


_MAX_SHARED_TEXTS = 2048
"""At most 16 MiB, as a text has up to 2048 characters of up to 4 bytes."""
_shared_texts: dict[str, str] = {}
"""Not `sys.intern`: CPython 3.12 never frees an interned string."""

_PROVING = {SessionResult.SUCCESS, SessionResult.WARNING}
_PROCESSED_ITEMS = re.compile(r"([0-9]{1,15}) items? processed\b")


def parse_session(record: object) -> RestoreSession | Rejection:
    """Parse one record of a list, or the response to a get; never raises.

    Args:
        record: any value a JSON decoder can produce.
    """
    if not isinstance(record, dict):
        return Rejection(reason=RejectionReason.NOT_AN_OBJECT)
    session_id = ""
    try:
        session_id = read_session_id(record)
        return _read_session(session_id, record)
    except BadFieldError as bad:
        return Rejection(reason=bad.reason, field=bad.field, session_id=session_id)


def parse_page(records: Iterable[object]) -> Page:
    """Parse the records of one page of the list; never raises.

    If records of a page contradict each other, a session counts as running: it may be open.
    """
    sessions, rejections = [], []
    running: dict[str, RestoreSession] = {}
    for record in records:
        parsed = parse_session(record)
        if isinstance(parsed, Rejection):
            rejections.append(parsed)
            continue
        sessions.append(parsed)
        if not parsed.stopped:
            running[parsed.id] = parsed
    # Records are replaced, not dropped: however often a session is repeated, a list ends at its maximum of records.
    return Page(
        sessions=tuple(running.get(session.id, session) for session in sessions),
        rejections=tuple(rejections),
    )


def _read_session(session_id: str, record: Record) -> RestoreSession:
    unknown: list[UnknownValue] = []
    session_type = _TYPES.read(record, "type", unknown)
    state = _STATES.read(record, "state", unknown)
    result = None
    if state is SessionState.STOPPED:
        result = _RESULTS.read(record, "result", unknown)
    creation_time = read_time(record, "creationTime")
    if creation_time is None:
        raise BadFieldError(
            RejectionReason.BAD_TIME if "creationTime" in record else RejectionReason.MISSING_FIELD,
            "creationTime",
        )
    organization, name, initiated_by, details, scope_name, client_host, reason = read_strings(
        record, _TEXTS
    )
    # Thousands of sessions share few organizations, accounts, hosts and details: each is kept in memory once.
    # Names, scopes and reasons differ between sessions.
    if len(_shared_texts) > _MAX_SHARED_TEXTS:
        _shared_texts.clear()
    share = _shared_texts.setdefault
    # Positional arguments, because keywords for this many fields take much longer.
    return RestoreSession(
        session_id,
        session_type,
        state,
        creation_time,
        read_time(record, "endTime"),
        result,
        share(organization, organization),
        name,
        share(initiated_by, initiated_by),
        share(details, details),
        scope_name,
        share(client_host, client_host),
        reason,
        read_integer(record, "eTag"),
        tuple(unknown),
    )


_TEXTS = (
    "organization",
    "name",
    "initiatedBy",
    "details",
    "scopeName",
    "clientHost",
    "reason",
)
_TYPES = EnumReader(SessionType, SessionType.UNKNOWN)
_STATES = EnumReader(SessionState, SessionState.UNKNOWN)
_RESULTS = EnumReader(SessionResult, SessionResult.UNKNOWN)
