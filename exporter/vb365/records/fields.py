"""Read typed fields from records of untrusted JSON.

The rules for every kind of record:

* An absent or null field is empty: servers omit a field, or send null, when they have no value.
* A field of the wrong JSON type makes its record unusable: guessing its meaning would invent data.
* An enum value that is unknown to this version of the exporter, null or absent becomes `Unknown`, and is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

Record = Mapping[object, object]

# Label values are cut to 512 characters later; this bound keeps a hostile server from exhausting the memory.
_MAX_TEXT_CHARACTERS = 2048

_MAX_UNKNOWN_CHARACTERS = 64
_MAX_INTEGER_CHARACTERS = 20
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_MIN_TIME_CHARACTERS = len("2022-02-22T15:40:25")
# DateTime.MinValue (year 1) and MaxValue (year 9999) of .NET mean "never".
_FIRST_YEAR = 2
_LAST_YEAR = 9998
# The API's integers are Int64; larger ones are rejected, because they may have thousands of digits.
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

_Enum = TypeVar("_Enum", bound=StrEnum)


class RejectionReason(StrEnum):
    """Why a record was rejected; the values of `vb365_records_rejected_total{reason}`."""

    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    OTHER_SESSION = "other_session"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownValue:
    """An enum value unknown to this version of the exporter, as the API sent it, cut to 64 characters."""

    field: str
    value: str


class BadFieldError(Exception):
    """A field that makes its record unusable."""

    def __init__(self, reason: RejectionReason, field: str) -> None:
        self.reason = reason
        self.field = field


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
    """Return several fields as strings, each cut to 2048 characters; an empty field becomes an empty string.

    Raises:
        BadFieldError: a field is not a string.
    """
    texts = []
    for field in fields:
        value = record.get(field)
        if isinstance(value, str):
            # Most are short, and slicing takes longer than the comparison.
            texts.append(
                value if len(value) <= _MAX_TEXT_CHARACTERS else value[:_MAX_TEXT_CHARACTERS]
            )
        elif value is None:
            texts.append("")
        else:
            raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return texts


def read_time(record: Record, field: str) -> datetime | None:
    """Return a .NET round-trip timestamp in UTC; None if the field is empty or its year means "never".

    Accepts any number of fractional digits (truncated to microseconds) and `Z` or an offset; without either, the time
    is in UTC.

    Raises:
        BadFieldError: the field is not a timestamp.
    """
    value = record.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    # fromisoformat alone also accepts bare dates, week dates and the basic format, which the API never sends.
    if len(value) < _MIN_TIME_CHARACTERS or value[7] != "-" or value[10] not in "Tt ":
        raise BadFieldError(RejectionReason.BAD_TIME, field)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise BadFieldError(RejectionReason.BAD_TIME, field) from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None  # before the conversion to UTC, which overflows in these years
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_integer(record: Record, field: str, *, minimum: int = _INT64_MIN) -> int | None:
    """Return an integer of at most 64 bits (a string of digits from some servers); None if the field is empty.

    Raises:
        BadFieldError: the field is not such an integer, or below `minimum`.
    """
    value = record.get(field)
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= _MAX_INTEGER_CHARACTERS and value.isdecimal():
        value = int(value)
    # bool is an int in Python but not in JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _INT64_MAX:
        raise BadFieldError(RejectionReason.WRONG_TYPE, field)
    return value


class EnumReader(Generic[_Enum]):
    """Reads fields that hold a member of an enum.

    Args:
        enum: an enum with the API's values.
        unknown: the member that represents all other values.
    """

    def __init__(self, enum: type[_Enum], unknown: _Enum) -> None:
        self._unknown = unknown
        known = [member for member in enum if member is not unknown]
        # Old servers wrote lower case.
        self._members = {member.value.lower(): member for member in known}
        self._members |= {member.value: member for member in known}

    def read(self, record: Record, field: str, unknown_values: list[UnknownValue]) -> _Enum:
        """Return the member; append an unknown value to `unknown_values`.

        Raises:
            BadFieldError: the field is not a string.
        """
        value = record.get(field)
        if isinstance(value, str):
            member = self._members.get(value) or self._members.get(value.lower())
            if member is not None:
                return member
            unknown_values.append(UnknownValue(field=field, value=value[:_MAX_UNKNOWN_CHARACTERS]))
        elif value is None:
            unknown_values.append(
                UnknownValue(field=field, value="null" if field in record else "absent")
            )
        else:
            raise BadFieldError(RejectionReason.WRONG_TYPE, field)
        return self._unknown
