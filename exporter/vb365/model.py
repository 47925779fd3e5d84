"""A restore session as VB365 describes it, read from untrusted JSON.

`parse_session` turns one record of the API into a `RestoreSession` or a `Rejection` and never raises. The rules:

* `id` and `creationTime` make a session; without usable ones there is none.
* An enum value that is not known here, null or absent becomes `Unknown`, and the session says so in `unknown_values`:
  a session that is shown with an unknown state is followed, one that is hidden is missed.
* A property of the wrong JSON type rejects the record: guessing what it meant would be inventing data.
* "Not ended" is an `endTime` that is absent, null, in year 9999 or in year 1, whatever the server's version.

Source of every property: the restore session resource, `GET /v6/RestoreSessions/{restoreSessionId}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

__all__ = [
    "Rejection",
    "RejectionReason",
    "RestoreSession",
    "SessionResult",
    "SessionState",
    "SessionType",
    "UnknownValue",
    "parse_session",
    "parse_timestamp",
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


class RejectionReason(StrEnum):
    """Why a record is no restore session; the values of `vb365_records_rejected_total{reason}`."""

    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    OTHER_SESSION = "other_session"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownValue:
    """An enum value this version of the exporter does not know, as the API sent it."""

    field: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @property
    def stopped(self) -> bool:
        """True when the session is over; any other state, unknown ones too, still runs."""
        return self.state is SessionState.STOPPED

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from `creationTime` to `endTime`; None while running and when the two contradict."""
        if self.end_time is None or not self.stopped or self.end_time < self.creation_time:
            return None
        return (self.end_time - self.creation_time).total_seconds()

    @property
    def processed_items(self) -> int | None:
        """The N of "N items processed" in `details`; None when it has another form."""
        return _processed_items(self.details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A record that is no restore session, and why."""

    reason: RejectionReason
    field: str = ""
    """The API field at fault; empty when it is the record itself."""
    session_id: str = ""
    """The record's id when it had a usable one."""


# What may be served is cut to 512 characters later; this only keeps a hostile server from filling the memory.
MAX_TEXT_CHARACTERS = 2048

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
_PROCESSED_ITEMS = re.compile(r"([0-9]{1,15}) items? processed\b")
_NEVER_BEFORE_YEAR = 2
_NEVER_FROM_YEAR = 9999

_Enum = TypeVar("_Enum", bound=StrEnum)


class _BadFieldError(Exception):
    """Ends the reading of a record; never leaves this module."""

    def __init__(self, reason: RejectionReason, field: str) -> None:
        self.reason = reason
        self.field = field


def parse_session(record: object) -> RestoreSession | Rejection:
    """Read one record of a list or one answer of a get; never raises.

    Args:
        record: any value a JSON decoder can produce.
    """
    if not isinstance(record, dict):
        return Rejection(reason=RejectionReason.NOT_AN_OBJECT)
    session_id = ""
    try:
        session_id = _session_id(record)
        return _session(session_id, record)
    except _BadFieldError as bad:
        return Rejection(reason=bad.reason, field=bad.field, session_id=session_id)


def parse_timestamp(text: str) -> datetime | None:
    """Read a .NET round-trip timestamp; None for the years that stand for "never".

    Zero to seven fractional digits (truncated to microseconds), `Z` or an offset; a time without either is UTC.

    Raises:
        ValueError: the text is no timestamp.
    """
    # fromisoformat alone also takes bare dates and week dates, which the API never sends.
    if len(text) < len("2022-02-22T15:40:25") or text[7] != "-" or text[10] not in "Tt ":
        raise ValueError("not a timestamp")
    moment = datetime.fromisoformat(text)
    if not _NEVER_BEFORE_YEAR <= moment.year < _NEVER_FROM_YEAR:
        return None  # decided before any conversion: shifting these by an offset overflows
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _session(session_id: str, record: Mapping[object, object]) -> RestoreSession:
    unknown: list[UnknownValue] = []
    session_type = _enum(record, "type", _TYPES, SessionType.UNKNOWN, unknown)
    state = _enum(record, "state", _STATES, SessionState.UNKNOWN, unknown)
    result = None
    if state is SessionState.STOPPED:
        result = _enum(record, "result", _RESULTS, SessionResult.UNKNOWN, unknown)
    creation_time = _time(record, "creationTime")
    if creation_time is None:
        raise _BadFieldError(
            RejectionReason.BAD_TIME if "creationTime" in record else RejectionReason.MISSING_FIELD,
            "creationTime",
        )
    return RestoreSession(
        id=session_id,
        type=session_type,
        state=state,
        creation_time=creation_time,
        end_time=_time(record, "endTime"),
        result=result,
        organization=_shared(_text(record, "organization")),
        name=_shared(_text(record, "name")),
        initiated_by=_shared(_text(record, "initiatedBy")),
        details=_shared(_text(record, "details")),
        scope_name=_shared(_text(record, "scopeName")),
        client_host=_shared(_text(record, "clientHost")),
        reason=_shared(_text(record, "reason")),
        e_tag=_integer(record, "eTag"),
        unknown_values=tuple(unknown),
    )


def _session_id(record: Mapping[object, object]) -> str:
    value = record.get("id")
    if value is None:
        raise _BadFieldError(RejectionReason.MISSING_FIELD, "id")
    if not isinstance(value, str):
        raise _BadFieldError(RejectionReason.WRONG_TYPE, "id")
    session_id = value.lower()
    if not _UUID.fullmatch(session_id):
        raise _BadFieldError(RejectionReason.BAD_ID, "id")
    return session_id


def _text(record: Mapping[object, object], field: str) -> str:
    value = record.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value if len(value) <= MAX_TEXT_CHARACTERS else value[:MAX_TEXT_CHARACTERS]


@lru_cache(maxsize=4096)
def _processed_items(details: str) -> int | None:
    form = _PROCESSED_ITEMS.match(details)
    return int(form[1]) if form else None


@lru_cache(maxsize=4096)
def _shared(text: str) -> str:
    """The same string for equal texts: few accounts, organizations and numbers of items stand in thousands of sessions."""
    return text


def _time(record: Mapping[object, object], field: str) -> datetime | None:
    value = record.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _BadFieldError(RejectionReason.WRONG_TYPE, field)
    try:
        return parse_timestamp(value)
    except ValueError:
        raise _BadFieldError(RejectionReason.BAD_TIME, field) from None


def _enum(
    record: Mapping[object, object],
    field: str,
    members: Mapping[str, _Enum],
    fallback: _Enum,
    unknown: list[UnknownValue],
) -> _Enum:
    value = record.get(field)
    if value is None:
        unknown.append(UnknownValue(field=field, value="null" if field in record else "absent"))
        return fallback
    if not isinstance(value, str):
        raise _BadFieldError(RejectionReason.WRONG_TYPE, field)
    # Old servers wrote the types in lower case; a differing case is no new meaning.
    member = members.get(value) or members.get(value.lower())
    if member is None:
        unknown.append(UnknownValue(field=field, value=value[:64]))
        return fallback
    return member


def _members(enum: type[_Enum], unknown: _Enum) -> Mapping[str, _Enum]:
    known = [member for member in enum if member is not unknown]
    return {
        spelling: member for member in known for spelling in (member.value, member.value.lower())
    }


_TYPES = _members(SessionType, SessionType.UNKNOWN)
_STATES = _members(SessionState, SessionState.UNKNOWN)
_RESULTS = _members(SessionResult, SessionResult.UNKNOWN)


def _integer(record: Mapping[object, object], field: str) -> int | None:
    value = record.get(field)
    if value is None:
        return None
    # Some builds of the server write numbers as strings; bool is an int in Python but not in JSON.
    if isinstance(value, str) and len(value) <= 20 and value.isdecimal():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value
