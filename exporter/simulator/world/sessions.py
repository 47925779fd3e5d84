"""Restore sessions of the simulated server and the format of their timestamps.

Times are ticks of 100 ns since 1970-01-01 UTC, because the API's timestamps have seven fractional digits, but a `datetime`
has only six.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

TICKS_PER_SECOND = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - prints without an offset, "Z" is appended
_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d)?)(?:\.(\d{1,7}))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)

# One letter for each item of a session, which determines its event and its place in the statistics.
_EVENT_STATUS = {
    "o": "Success",  # opened (View), nothing restored
    "r": "Success",
    "w": "Warning",
    "f": "Failed",
    "s": "Skipped",
    "c": "Cancelled",
    "a": "Running",  # in progress
}
_PROCESSED = "rwfsc"
_OPERATIONS = ("Restore", "Save", "Export", "Send")


def ticks_from_datetime(moment: datetime) -> int:
    """Return the ticks of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 10


def datetime_from_ticks(ticks: int) -> datetime:
    """Return the aware UTC time, truncated to microseconds."""
    return _EPOCH + timedelta(microseconds=ticks // 10)


def ticks_from_text(text: str) -> int:
    """Parse a timestamp or date with up to seven fractional digits; without an offset it is UTC.

    Raises:
        ValueError: the text is not a timestamp.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a timestamp")
    seconds, fraction, offset = match.groups()
    moment = datetime.fromisoformat(seconds)
    zone = datetime.strptime(offset or "Z", "%z").tzinfo
    return ticks_from_datetime(moment.replace(tzinfo=zone)) + int((fraction or "").ljust(7, "0"))


def timestamp(ticks: int) -> str:
    """Return the .NET round-trip format in UTC, without trailing zeros in the fraction."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    text = (_NAIVE_EPOCH + timedelta(seconds=seconds)).isoformat()
    if fraction:
        return f"{text}.{fraction:07d}".rstrip("0") + "Z"
    return f"{text}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A restore session (`GET /v6/RestoreSessions/{restoreSessionId}`).

    `created` and `ended` are ticks, `ended` is None while it runs. `result` is meaningless until the state is Stopped.
    `items` has one letter for each item in order: o opened, r restored, w restored with a warning, f failed, s skipped,
    c cancelled, a in progress. Empty strings and an organization of None are absent in the API.
    """

    id: str
    name: str
    organization: str | None
    type: str
    created: int
    ended: int | None
    state: str
    result: str
    initiated_by: str = ""
    details: str = ""
    scope_name: str = ""
    client_host: str = ""
    reason: str = ""
    e_tag: int = 0
    items: str = ""

    @property
    def stopped(self) -> bool:
        """Whether the session is finished."""
        return self.state == "Stopped"

    @property
    def creation_time(self) -> datetime:
        """The creation time, truncated to microseconds."""
        return datetime_from_ticks(self.created)

    @property
    def end_time(self) -> datetime | None:
        """The end time, truncated to microseconds; None while it runs."""
        return None if self.ended is None else datetime_from_ticks(self.ended)

    @property
    def processed_items(self) -> int:
        """Number of processed items, whatever their outcome."""
        return _processed(self.items)

    @property
    def statistics(self) -> dict[str, int]:
        """Items by outcome: restored (including warnings), failed, skipped (including cancelled)."""
        count = Counter(self.items)
        return {
            "restored": count["r"] + count["w"],
            "failed": count["f"],
            "skipped": count["s"] + count["c"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a session (`GET /v6/RestoreSessions/{id}/Events`); `ended` is None while it is in progress."""

    order: int
    operation: str
    status: str
    size_bytes: int
    started: int
    ended: int | None
    item: int | None = None
    title: str = ""


def check_items(items: str) -> None:
    """Check that `items` has only known letters.

    Raises:
        ValueError: a letter is unknown.
    """
    unknown = set(items) - set(_EVENT_STATUS)
    if unknown:
        raise ValueError(f"items may contain the letters {''.join(_EVENT_STATUS)}, not {items!r}")


def details_of(items: str) -> str:
    """Return the `details` of a session that ended with these items."""
    return f"{_processed(items)} items processed"


def _processed(items: str) -> int:
    return sum(letter in _PROCESSED for letter in items)


def events_of(session: Session) -> list[Event]:
    """Return the events of a session: its start, its items and its end."""
    events = [_marker(0, session.created, "Restore session started")]
    latest = session.ended
    for number, letter in enumerate(session.items):
        draw = zlib.crc32(f"{session.id}/{number}".encode())
        started = session.created + (2 * number + 1) * TICKS_PER_SECOND + draw % TICKS_PER_SECOND
        ended: int | None = started + draw % (TICKS_PER_SECOND // 2)
        if latest is not None:
            started, ended = min(started, latest), min(started + draw % 5_000_000, latest)
        events.append(
            Event(
                order=number + 1,
                operation="View" if letter == "o" else _OPERATIONS[draw % len(_OPERATIONS)],
                status=_EVENT_STATUS[letter],
                size_bytes=draw % 200_000,
                started=started,
                ended=None if letter == "a" else ended,
                item=number,
            )
        )
    if session.stopped and latest is not None:
        events.append(_marker(len(events), latest, "Restore session stopped"))
    return events


def _marker(order: int, at: int, title: str) -> Event:
    return Event(
        order=order,
        operation="None",
        status="Success",
        size_bytes=0,
        started=at,
        ended=at,
        title=title,
    )
