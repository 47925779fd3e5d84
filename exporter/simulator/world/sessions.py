"""Restore sessions of the simulated server and the format of their timestamps.

Times are ticks of 100 ns since 1970-01-01 UTC, because the API's timestamps have seven fractional digits, but a `datetime`
has only six.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

TICKS_PER_SECOND = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - prints without an offset, "Z" is appended
_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d)?)(?:\.(\d{1,7}))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)

EVENT_STATUS = {
    "o": "Success",  # opened (View), nothing restored
    "r": "Success",
    "w": "Warning",
    "f": "Failed",
    "s": "Skipped",
    "c": "Cancelled",
    "a": "Running",  # in progress
}
"""One letter for each item of a session, which determines its event and its place in the statistics."""
_PROCESSED = "rwfsc"


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
    item_times: tuple[tuple[int, int | None], ...] = field(default=(), hash=False)
    """Start and end (None while in progress) of each item in ticks; without them, `events` derives likely ones."""

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
    def proves_restore(self) -> bool:
        """Whether it ended without failing after it restored an item."""
        return self.stopped and self.result != "Failed" and self.statistics["restored"] > 0

    @property
    def statistics(self) -> dict[str, int]:
        """Items by outcome: restored (including warnings), failed, skipped (including cancelled)."""
        count = Counter(self.items)
        return {
            "restored": count["r"] + count["w"],
            "failed": count["f"],
            "skipped": count["s"] + count["c"],
        }


def check_items(items: str) -> None:
    """Check that `items` has only known letters.

    Raises:
        ValueError: a letter is unknown.
    """
    unknown = set(items) - set(EVENT_STATUS)
    if unknown:
        raise ValueError(f"items may contain the letters {''.join(EVENT_STATUS)}, not {items!r}")


def details_of(items: str) -> str:
    """Return the `details` of a session that ended with these items."""
    return f"{_processed(items)} items processed"


def _processed(items: str) -> int:
    return sum(letter in _PROCESSED for letter in items)
