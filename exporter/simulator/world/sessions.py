"""One restore session as the simulated server keeps it, and the API's form of its timestamps.

Times are ticks: whole 100 ns since 1970-01-01 UTC, because the API's timestamps have seven fractional digits and a
`datetime` has six.
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

# One letter for each item a session dealt with: what its event says and what the statistics count.
_EVENT_STATUS = {
    "o": "Success",  # opened: a View, nothing was restored
    "r": "Success",
    "w": "Warning",
    "f": "Failed",
    "s": "Skipped",
    "c": "Cancelled",
    "a": "Running",  # the item that is being restored now
}
_PROCESSED = "rwfsc"
_OPERATIONS = ("Restore", "Save", "Export", "Send")


def ticks_from_datetime(moment: datetime) -> int:
    """Ticks of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 10


def datetime_from_ticks(ticks: int) -> datetime:
    """The aware UTC time, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=ticks // 10)


def ticks_from_text(text: str) -> int:
    """Ticks of a timestamp or date with up to seven fractional digits; without an offset it is UTC.

    Raises:
        ValueError: It is none.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no timestamp")
    seconds, fraction, offset = match.groups()
    moment = datetime.fromisoformat(seconds)
    zone = datetime.strptime(offset or "Z", "%z").tzinfo
    return ticks_from_datetime(moment.replace(tzinfo=zone)) + int((fraction or "").ljust(7, "0"))


def timestamp(ticks: int) -> str:
    """The .NET round-trip form in UTC: no trailing zeros in the fraction, no point without one."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    text = (_NAIVE_EPOCH + timedelta(seconds=seconds)).isoformat()
    if fraction:
        return f"{text}.{fraction:07d}".rstrip("0") + "Z"
    return f"{text}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A restore session as it truly is (`GET /v6/RestoreSessions/{restoreSessionId}`).

    `created` and `ended` are ticks, `ended` is None while it runs. `result` means nothing before the state is Stopped.
    `items` has one letter for each item in order: o opened, r restored, w restored with a warning, f failed, s skipped,
    c cancelled, a being restored now. Empty texts, and an organization of None, are absent in the API.
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
        """Whether the session is over."""
        return self.state == "Stopped"

    @property
    def creation_time(self) -> datetime:
        """When it was opened, cut to microseconds."""
        return datetime_from_ticks(self.created)

    @property
    def end_time(self) -> datetime | None:
        """When it ended, cut to microseconds; None while it runs."""
        return None if self.ended is None else datetime_from_ticks(self.ended)

    @property
    def processed_items(self) -> int:
        """How many items were dealt with, whatever came of them."""
        return _processed(self.items)

    @property
    def statistics(self) -> dict[str, int]:
        """Items by outcome: restored (with a warning too), failed, skipped (cancelled too)."""
        count = Counter(self.items)
        return {
            "restored": count["r"] + count["w"],
            "failed": count["f"],
            "skipped": count["s"] + count["c"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a session's log (`GET /v6/RestoreSessions/{id}/Events`); `ended` is None while it runs."""

    order: int
    operation: str
    status: str
    size_bytes: int
    started: int
    ended: int | None
    item: int | None = None
    title: str = ""


def check_items(items: str) -> None:
    """Make sure that each letter of `items` means something.

    Raises:
        ValueError: One does not.
    """
    unknown = set(items) - set(_EVENT_STATUS)
    if unknown:
        raise ValueError(f"items may hold the letters {''.join(_EVENT_STATUS)}, not {items!r}")


def details_of(items: str) -> str:
    """The `details` of a session that ended with these items."""
    return f"{_processed(items)} items processed"


def _processed(items: str) -> int:
    return sum(letter in _PROCESSED for letter in items)


def events_of(session: Session) -> list[Event]:
    """A session's log: it was opened, its items, it was closed."""
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
