"""The dates in the headers of responses, and with them the time by a server's own clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_MAX_DATE_CHARACTERS = 64
# Outside of these years, adding or subtracting a long time would overflow.
_FIRST_YEAR, _LAST_YEAR = 1970, 8999


def parse_http_date(text: str) -> datetime | None:
    """Return a date of a header (RFC 9110, 5.6.7) in UTC; None if it is invalid."""
    try:
        parsed = parsedate_to_datetime(text[:_MAX_DATE_CHARACTERS])
        moment = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None


class ServerClock:
    """A server's clock: its newest `Date` (RFC 9110, 6.6.1), plus the time that has passed since. Thread-safe.

    Args:
        monotonic: the monotonic clock.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._reading: tuple[datetime, float] | None = None  # replaced as a whole

    def update(self, date: str) -> None:
        """Set the clock to the `Date` of a response just received; an invalid one has no effect."""
        server_time = parse_http_date(date)
        if server_time is not None:
            self._reading = (server_time, self._monotonic())

    def now(self) -> datetime | None:
        """Return the server's time in UTC; None before the first valid `Date`."""
        reading = self._reading
        if reading is None:
            return None
        server_time, received_at = reading
        return server_time + timedelta(seconds=self._monotonic() - received_at)
