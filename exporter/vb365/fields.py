"""Reading the fields of a record of untrusted JSON: a value of the right kind, or why there is none.

The rules, for whatever the record describes:

* A field that is absent or null is empty: servers leave out, or send null, what they have no value for.
* A field of the wrong JSON type makes the record unusable: guessing what it meant would be inventing data.
* An enum value that is not known here, null or absent becomes `Unknown`, and is noted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

__all__ = [
    "MAX_TEXT_CHARACTERS",
    "BadFieldError",
    "Record",
    "RejectionReason",
    "UnknownValue",
    "known_members",
    "parse_timestamp",
    "read_enum",
    "read_integer",
    "read_session_id",
    "read_text",
    "read_time",
]

Record = Mapping[object, object]

# What may be served is cut to 512 characters later; this only keeps a hostile server from filling the memory.
MAX_TEXT_CHARACTERS = 2048

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
_NEVER_BEFORE_YEAR = 2
_NEVER_FROM_YEAR = 9999

_Enum = TypeVar("_Enum", bound=StrEnum)


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


class BadFieldError(Exception):
    """A field that makes its record unusable; whoever reads the record turns it into a rejection."""

    def __init__(self, reason: RejectionReason, field: str) -> None:
        self.reason = reason
        self.field = field


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


def read_session_id(record: Record) -> str:
    """The `id` of a session, in lower case.

    Raises:
        BadFieldError: there is none, or it is no UUID.
    """
    value = record.get("id")
    if value is None:
        raise BadFieldError(RejectionReason.MISSING_FIELD, "id")
    if not isinstance(value, str):
        raise BadFieldError(RejectionReason.WRONG_TYPE, "id")
    session_id = value.lower()
    if not _UUID.fullmatch(session_id):
        raise BadFieldError(RejectionReason.BAD_ID, "id")
    return session_id


def read_text(record: Record, field: str) -> str:
    """A text, cut to `MAX_TEXT_CHARACTERS`; empty when there is none.

    Raises:
        BadFieldError: it is something else.
    """
    value = record.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value if len(value) <= MAX_TEXT_CHARACTERS else value[:MAX_TEXT_CHARACTERS]


def read_time(record: Record, field: str) -> datetime | None:
    """A moment in UTC; None when there is none, or one that stands for "never".

    Raises:
        BadFieldError: it is something else.
    """
    value = record.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    try:
        return parse_timestamp(value)
    except ValueError:
        raise BadFieldError(RejectionReason.BAD_TIME, field) from None


def read_enum(
    record: Record,
    field: str,
    members: Mapping[str, _Enum],
    fallback: _Enum,
    unknown: list[UnknownValue],
) -> _Enum:
    """A member of an enum, `fallback` when it is not among the known ones; that is noted in `unknown` then.

    Args:
        record: the record.
        field: the API field.
        members: the known ones by their spellings, from `known_members`.
        fallback: stands for all others.
        unknown: where those are noted.

    Raises:
        BadFieldError: it is no text.
    """
    value = record.get(field)
    if value is None:
        unknown.append(UnknownValue(field=field, value="null" if field in record else "absent"))
        return fallback
    if not isinstance(value, str):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    # Old servers wrote the types in lower case; a differing case is no new meaning.
    member = members.get(value) or members.get(value.lower())
    if member is None:
        unknown.append(UnknownValue(field=field, value=value[:64]))
        return fallback
    return member


def known_members(enum: type[_Enum], unknown: _Enum) -> Mapping[str, _Enum]:
    """The members of an enum by the spellings they may have, without the one that stands for all others."""
    known = [member for member in enum if member is not unknown]
    return {
        spelling: member for member in known for spelling in (member.value, member.value.lower())
    }


def read_integer(record: Record, field: str) -> int | None:
    """A whole number, also one written as a text; None when there is none.

    Raises:
        BadFieldError: it is something else.
    """
    value = record.get(field)
    if value is None:
        return None
    # Some builds of the server write numbers as strings; bool is an int in Python but not in JSON.
    if isinstance(value, str) and len(value) <= 20 and value.isdecimal():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value
