"""Time as polling needs it, in one place that tests can replace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Clock", "Moment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One point in time on the two clocks that the ledger reasons with."""

    monotonic: float
    """Seconds on the monotonic clock: every age and every wait is measured with these."""
    wall: datetime
    """The date of it, in UTC: only ever compared with what the API says."""


class Clock:
    """The process's clocks.

    A wall clock may be set forward or back at any time. The one offered by `now()` is read once and carried on by
    the monotonic clock, so that a jump neither drops sessions nor brings them back.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._started_wall = datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never jumps."""
        return time.monotonic()

    def timestamp(self) -> float:
        """Unix seconds by the system's clock as it stands, for exported timestamps only."""
        return time.time()

    def now(self) -> Moment:
        """This moment."""
        monotonic = self.monotonic()
        return Moment(
            monotonic=monotonic,
            wall=self._started_wall + timedelta(seconds=monotonic - self._started),
        )
