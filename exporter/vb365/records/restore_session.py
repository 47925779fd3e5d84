"""A restore session as VB365 describes it, parsed from untrusted JSON.

`parse_session` turns one record of the API into a `RestoreSession` or a `Rejection` and never raises. The rules:

* A session needs a valid `id` and `creationTime`.
* An enum value that is unknown here, null or absent becomes `Unknown` and is listed in `unknown_values`: a session
  exposed with an unknown state can be followed, a hidden one is missed.
* A field of the wrong JSON type rejects the record.
* "Not ended" is an `endTime` that is absent, null, in year 9999 or in year 1, whatever the server's version.

Source of every field: the restore session resource, `GET /v6/RestoreSessions/{restoreSessionId}`.
"""

from __future__ import annotations

import re
import sys
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

__all__ = [
    "Page",
    "Rejection",
    "RejectionReason",
    "RestoreSession",
    "SessionResult",
    "SessionState",
    "SessionType",
    "UnknownValue",
    "parse_page",
    "parse_session",
]


class SessionType(StrEnum):
    """Which Veeam Explorer the session was opened with (`type`)."""

    VEX = "Vex"
    VEOD = "Veod"
    VESP = "Vesp"
    VET = "Vet"
    UNKNOWN = "Unknown"


class SessionState(StrEnum):
    """Whether the session is running (`state`); only Stopped means that it has finished."""

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

    Times are aware and in UTC. Strings that the API omits are empty. A tuple, because creating a frozen dataclass of so
    many fields takes three times as long, and there may be 200,000 of them.
    """

    id: str
    """`id`, in lower case."""
    type: SessionType
    state: SessionState
    creation_time: datetime
    """`creationTime`: when the Explorer was opened."""
    end_time: datetime | None = None
    """`endTime`; None until the session has ended."""
    result: SessionResult | None = None
    """`result`; None unless the session is Stopped, because a running session's result means nothing."""
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
    """The last known `Statistics` of the session; None when they were not requested or never received."""
    events: EventSummary | None = None
    """The last known sums of its `Events`, likewise."""

    @property
    def stopped(self) -> bool:
        """Whether the session has finished; in any other state, unknown ones too, it is running."""
        return self.state is SessionState.STOPPED

    @property
    def ended_at(self) -> datetime | None:
        """`endTime`; None while running, whatever the API sends."""
        return self.end_time if self.stopped else None

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from `creationTime` to `endTime`; None while running, and when `endTime` comes first."""
        if self.ended_at is None:
            return None
        seconds = (self.ended_at - self.creation_time).total_seconds()
        return None if seconds < 0 else seconds

    def elapsed_seconds(self, now: datetime) -> float | None:
        """Return the duration; for a running session, the time since `creationTime`."""
        if self.stopped:
            return self.duration_seconds
        return (now - self.creation_time).total_seconds()

    @property
    def processed_items(self) -> int | None:
        """The N of "N items processed" in `details`; None when it has another form."""
        form = _PROCESSED_ITEMS.match(self.details)
        return int(form[1]) if form else None

    def with_extra(
        self, extra: Literal["statistics", "events"], value: Statistics | EventSummary | None
    ) -> RestoreSession:
        """Return a copy with another value of one of its extras."""
        changes: dict[str, Any] = {extra: value}
        return self._replace(**changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A record that is not a restore session, and the reason."""

    reason: RejectionReason
    field: str = ""
    """The invalid API field; empty when the record itself is."""
    session_id: str = ""
    """The record's id; empty when it has no valid one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of restore sessions."""

    sessions: tuple[RestoreSession, ...]
    rejections: tuple[Rejection, ...]


_PROCESSED_ITEMS = re.compile(r"([0-9]{1,15}) items? processed\b")


def parse_session(record: object) -> RestoreSession | Rejection:
    """Read one record of a list, or the response to a get; never raises.

    Args:
        record: any value a JSON decoder can produce.
    """
    if not isinstance(record, dict):
        return Rejection(reason=RejectionReason.NOT_AN_OBJECT)
    session_id = ""
    try:
        session_id = read_session_id(record)
        return _session(session_id, record)
    except BadFieldError as bad:
        return Rejection(reason=bad.reason, field=bad.field, session_id=session_id)


def parse_page(records: Iterable[object]) -> Page:
    """Read the records of one page of the list; never raises."""
    sessions, rejections = [], []
    for record in records:
        parsed = parse_session(record)
        if isinstance(parsed, RestoreSession):
            sessions.append(parsed)
        else:
            rejections.append(parsed)
    return Page(sessions=tuple(sessions), rejections=tuple(rejections))


def _session(session_id: str, record: Record) -> RestoreSession:
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
    # Thousands of sessions share few organizations, accounts, hosts and counts: each is kept in memory once.
    # Names, scopes and reasons differ from session to session.
    return RestoreSession(  # in the order of the fields: so many keywords take longer than reading half of them
        session_id,
        session_type,
        state,
        creation_time,
        read_time(record, "endTime"),
        result,
        sys.intern(organization),
        name,
        sys.intern(initiated_by),
        sys.intern(details),
        scope_name,
        sys.intern(client_host),
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
