"""Reading the fields of a record of untrusted JSON: a value of the right kind, or why there is none.

The rules, for whatever the record describes:

* A field that is absent or null is empty: servers leave out, or send null, what they have no value for.
* A field of the wrong JSON type makes the record unusable: guessing what it meant would be inventing data.
* An enum value that is not known here, null or absent becomes `Unknown`, and is noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

__all__ = [
    "MAX_TEXT_CHARACTERS",
    "BadFieldError",
    "EnumReader",
    "Record",
    "RejectionReason",
    "UnknownValue",
    "parse_timestamp",
    "read_enum",
    "read_integer",
    "read_session_id",
    "read_strings",
    "read_time",
]

Record = Mapping[object, object]

# What may be served is cut to 512 characters later; this only keeps a hostile server from filling the memory.
MAX_TEXT_CHARACTERS = 2048

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
_NEVER_BEFORE_YEAR = 2
_NEVER_FROM_YEAR = 9999
# The API's numbers are Int64; a hostile one must not become an integer of thousands of digits.
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

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


def read_strings(record: Record, fields: Iterable[str]) -> list[str]:
    """Texts, each cut to `MAX_TEXT_CHARACTERS`, and empty when there is none.

    Raises:
        BadFieldError: one is something else.
    """
    texts = []
    for field in fields:
        value = record.get(field)
        if isinstance(value, str):
            texts.append(
                value if len(value) <= MAX_TEXT_CHARACTERS else value[:MAX_TEXT_CHARACTERS]
            )
        elif value is None:
            texts.append("")
        else:
            raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return texts


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


@dataclass(frozen=True, slots=True)
class EnumReader(Generic[_Enum]):
    """The members of an enum by the spellings they may have, and the one that stands for all other values."""

    by_spelling: Mapping[str, _Enum]
    unknown: _Enum

    @classmethod
    def of(cls, enum: type[_Enum], unknown: _Enum) -> EnumReader[_Enum]:
        """All members, in the spelling of the API and in lower case, which old servers wrote."""
        known = [member for member in enum if member is not unknown]
        spelled = {member.value: member for member in known}
        return cls(spelled | {name.lower(): member for name, member in spelled.items()}, unknown)


def read_enum(
    record: Record, field: str, members: EnumReader[_Enum], unknown: list[UnknownValue]
) -> _Enum:
    """A member of an enum; the one for unknown values when it is not among them, which is noted in `unknown` then.

    Raises:
        BadFieldError: it is no text.
    """
    value = record.get(field)
    if isinstance(value, str):
        # A differing case is no new meaning.
        member = members.by_spelling.get(value) or members.by_spelling.get(value.lower())
        if member is not None:
            return member
        unknown.append(UnknownValue(field=field, value=value[:64]))
    elif value is None:
        unknown.append(UnknownValue(field=field, value="null" if field in record else "absent"))
    else:
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return members.unknown


def read_integer(record: Record, field: str) -> int | None:
    """A whole number of at most 64 bits, also one written as a text; None when there is none.

    Raises:
        BadFieldError: it is something else.
    """
    value = record.get(field)
    if value is None:
        return None
    # Some builds of the server write numbers as strings; bool is an int in Python but not in JSON.
    if isinstance(value, str) and len(value) <= 20 and value.isdecimal():
        value = int(value)
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not _INT64_MIN <= value <= _INT64_MAX
    ):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value
