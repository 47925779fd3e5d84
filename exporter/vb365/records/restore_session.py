"""A restore session as VB365 describes it, read from untrusted JSON.

`parse_session` turns one record of the API into a `RestoreSession` or a `Rejection` and never raises. The rules:

* `id` and `creationTime` make a session; without usable ones there is none.
* An enum value that is not known here, null or absent becomes `Unknown`, and the session says so in `unknown_values`:
  a session that is shown with an unknown state is followed, one that is hidden is missed.
* A field of the wrong JSON type rejects the record.
* "Not ended" is an `endTime` that is absent, null, in year 9999 or in year 1, whatever the server's version.

Source of every field: the restore session resource, `GET /v6/RestoreSessions/{restoreSessionId}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, TypeVar, dataclass_transform

from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.fields import (
    BadFieldError,
    EnumReader,
    Record,
    RejectionReason,
    UnknownValue,
    read_enum,
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
    """Whether the session still runs (`state`); only Stopped means that it is over."""

    WORKING = "Working"
    STOPPED = "Stopped"
    UNKNOWN = "Unknown"


class SessionResult(StrEnum):
    """How the session ended (`result`)."""

    SUCCESS = "Success"
    WARNING = "Warning"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


_STOPPED = SessionState.STOPPED  # a third of the time of asking the enum for it, for each session
_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _frozen_for_type_checkers(cls: type[_Class]) -> type[_Class]:
    """A frozen dataclass, kept so by the type checker alone.

    Python sets each field of a frozen one by a call: with so many fields that is a fifth of a first poll.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


@_frozen_for_type_checkers
class RestoreSession:
    """One restore session: an Explorer that was opened, and closed or not.

    Times are aware and in UTC. Texts the API left out are empty.
    """

    id: str
    """`id`, in lower case."""
    type: SessionType
    state: SessionState
    creation_time: datetime
    """`creationTime`: when the Explorer was opened."""
    end_time: datetime | None = None
    """`endTime`; None while the session has not ended."""
    result: SessionResult | None = None
    """`result`; None unless the session is Stopped, because a running one's means nothing."""
    organization: str = ""
    name: str = ""
    initiated_by: str = ""
    """`initiatedBy`: the account, or the organization when it came through a service provider."""
    details: str = ""
    scope_name: str = ""
    client_host: str = ""
    """`clientHost`, as it is: `HOST (via: IP)`."""
    reason: str = ""
    e_tag: int | None = None
    """`eTag` (v8): grows whenever the session changes."""
    unknown_values: tuple[UnknownValue, ...] = ()
    statistics: Statistics | None = field(default=None, compare=False)
    """What its resource `Statistics` said last; None when that was not asked for, or not answered."""
    events: EventSummary | None = field(default=None, compare=False)
    """The same of its `Events`."""

    @property
    def stopped(self) -> bool:
        """True when the session is over; any other state, unknown ones too, still runs."""
        return self.state is _STOPPED

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from `creationTime` to `endTime`; None while running and when the two contradict."""
        if self.end_time is None or self.state is not _STOPPED:
            return None
        seconds = (self.end_time - self.creation_time).total_seconds()
        return None if seconds < 0 else seconds

    @property
    def processed_items(self) -> int | None:
        """The N of "N items processed" in `details`; None when it has another form."""
        return _processed_items(self.details)

    def with_extra(
        self, extra: Literal["statistics", "events"], value: Statistics | EventSummary | None
    ) -> RestoreSession:
        """The same session, with another value of one of its extras."""
        changes: dict[str, Any] = {extra: value}
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A record that is no restore session, and why."""

    reason: RejectionReason
    field: str = ""
    """The API field at fault; empty when it is the record itself."""
    session_id: str = ""
    """The record's id when it had a usable one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of restore sessions."""

    sessions: tuple[RestoreSession, ...]
    rejections: tuple[Rejection, ...]


_PROCESSED_ITEMS = re.compile(r"([0-9]{1,15}) items? processed\b")


def parse_session(record: object) -> RestoreSession | Rejection:
    """Read one record of a list or one answer of a get; never raises.

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
    session_type = read_enum(record, "type", _TYPES, unknown)
    state = read_enum(record, "state", _STATES, unknown)
    result = None
    if state is _STOPPED:
        result = read_enum(record, "result", _RESULTS, unknown)
    creation_time = read_time(record, "creationTime")
    if creation_time is None:
        raise BadFieldError(
            RejectionReason.BAD_TIME if "creationTime" in record else RejectionReason.MISSING_FIELD,
            "creationTime",
        )
    organization, name, initiated_by, details, scope_name, client_host, reason = read_strings(
        record, _TEXTS
    )
    return RestoreSession(
        id=session_id,
        type=session_type,
        state=state,
        creation_time=creation_time,
        end_time=read_time(record, "endTime"),
        result=result,
        organization=_intern(organization),
        name=name,
        initiated_by=_intern(initiated_by),
        details=_intern(details),
        scope_name=scope_name,
        client_host=_intern(client_host),
        reason=reason,
        e_tag=read_integer(record, "eTag"),
        unknown_values=tuple(unknown),
    )


@lru_cache(maxsize=4096)
def _processed_items(details: str) -> int | None:
    form = _PROCESSED_ITEMS.match(details)
    return int(form[1]) if form else None


@lru_cache(maxsize=4096)
def _intern(text: str) -> str:
    """The same string for equal texts: few accounts, organizations and numbers of items stand in thousands of sessions.

    Not for names, scopes and reasons, of which each session has its own: there is nothing to share.
    """
    return text


_TEXTS = (
    "organization",
    "name",
    "initiatedBy",
    "details",
    "scopeName",
    "clientHost",
    "reason",
)
_TYPES = EnumReader.of(SessionType, SessionType.UNKNOWN)
_STATES = EnumReader.of(SessionState, SessionState.UNKNOWN)
_RESULTS = EnumReader.of(SessionResult, SessionResult.UNKNOWN)
