"""The time by a server's own clock, as the `Date` of its responses shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ["ServerClock"]

_MAX_DATE_CHARACTERS = 64
# Outside of these years, adding or subtracting a long time would overflow.
_FIRST_YEAR, _LAST_YEAR = 1970, 8999


class ServerClock:
    """A server's clock: its newest `Date` (RFC 9110, 6.6.1), plus the time that has passed since. Thread-safe.

    Args:
        clock: the monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._set: tuple[datetime, float] | None = None  # replaced as a whole

    def set(self, date: str) -> None:
        """Set the clock to the `Date` of a response just received; an invalid one has no effect."""
        try:
            parsed = parsedate_to_datetime(date[:_MAX_DATE_CHARACTERS])
            server_time = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            return
        if _FIRST_YEAR <= server_time.year <= _LAST_YEAR:
            self._set = (server_time, self._clock())

    def now(self) -> datetime | None:
        """Return the server's time in UTC; None until a response had a `Date`."""
        if self._set is None:
            return None
        server_time, received_at = self._set
        return server_time + timedelta(seconds=self._clock() - received_at)
