"""Readers for the fields of a record of untrusted JSON: a value of the right type, or the reason there is none.

The rules, for every kind of record:

* A field that is absent or null is empty: servers omit, or send null for, what they have no value for.
* A field of the wrong JSON type makes its record unusable: guessing its meaning would invent data.
* An enum value that is unknown here, null or absent becomes `Unknown` and is noted.
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
    "read_integer",
    "read_session_id",
    "read_strings",
    "read_time",
]

Record = Mapping[object, object]

# Label values are cut to 512 characters later; this bound keeps a hostile server from filling the memory.
MAX_TEXT_CHARACTERS = 2048

_MAX_UNKNOWN_CHARACTERS = 64
_MAX_INTEGER_CHARACTERS = 20
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
# .NET's DateTime.MinValue and MaxValue stand for "never".
_FIRST_YEAR = 2
_LAST_YEAR = 9998
# The API's numbers are Int64; a hostile one must not become an integer of thousands of digits.
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

_Enum = TypeVar("_Enum", bound=StrEnum)


class RejectionReason(StrEnum):
    """Why a record is not a restore session; the values of `vb365_records_rejected_total{reason}`."""

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
    """A field that makes its record unusable. Parsers of records turn it into a rejection."""

    def __init__(self, reason: RejectionReason, field: str) -> None:
        self.reason = reason
        self.field = field


def parse_timestamp(text: str) -> datetime | None:
    """Read a .NET round-trip timestamp; return None for the years that stand for "never".

    Zero to seven fractional digits (truncated to microseconds), `Z` or an offset; a time without either is UTC.

    Raises:
        ValueError: the text is not a timestamp.
    """
    # fromisoformat alone also takes bare dates, week dates and the basic format, which the API never sends.
    if len(text) < len("2022-02-22T15:40:25") or text[7] != "-" or text[10] not in "Tt ":
        raise ValueError("not a timestamp")
    moment = datetime.fromisoformat(text)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None  # decided before the conversion, which overflows for these
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC)


def read_session_id(record: Record) -> str:
    """Return the `id` of a session, in lower case.

    Raises:
        BadFieldError: it is missing, or not a UUID.
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
    """Return the strings of several fields, each cut to `MAX_TEXT_CHARACTERS`; an empty field gives an empty string.

    Raises:
        BadFieldError: a field is of another type.
    """
    texts = []
    for field in fields:
        value = record.get(field)
        if isinstance(value, str):
            texts.append(value[:MAX_TEXT_CHARACTERS])
        elif value is None:
            texts.append("")
        else:
            raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return texts


def read_time(record: Record, field: str) -> datetime | None:
    """Return a time in UTC; None when the field is empty or stands for "never".

    Raises:
        BadFieldError: the field is not a timestamp.
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


def read_integer(record: Record, field: str) -> int | None:
    """Return an integer of at most 64 bits, which some builds of the server write as a string; None when empty.

    Raises:
        BadFieldError: the field is not such an integer.
    """
    value = record.get(field)
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= _MAX_INTEGER_CHARACTERS and value.isdecimal():
        value = int(value)
    # bool is an int in Python but not in JSON.
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not _INT64_MIN <= value <= _INT64_MAX
    ):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value


class EnumReader(Generic[_Enum]):
    """Reads fields that hold a member of an enum.

    Args:
        enum: its values are those of the API.
        unknown: the member that stands for all other values.
    """

    def __init__(self, enum: type[_Enum], unknown: _Enum) -> None:
        self._unknown = unknown
        self._members = {member.value.lower(): member for member in enum if member is not unknown}

    def read(self, record: Record, field: str, noted: list[UnknownValue]) -> _Enum:
        """Return the member; an unknown value is appended to `noted`.

        Raises:
            BadFieldError: the field is not a string.
        """
        value = record.get(field)
        if isinstance(value, str):
            # Old servers wrote lower case; a differing case is no new meaning.
            member = self._members.get(value.lower())
            if member is not None:
                return member
            noted.append(UnknownValue(field=field, value=value[:_MAX_UNKNOWN_CHARACTERS]))
        elif value is None:
            noted.append(UnknownValue(field=field, value="null" if field in record else "absent"))
        else:
            raise BadFieldError(RejectionReason.WRONG_TYPE, field)
        return self._unknown
