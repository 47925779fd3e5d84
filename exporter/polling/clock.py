"""Monotonic and wall-clock time, in one place that tests can replace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Clock", "Moment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One point in time on both clocks."""

    monotonic: float
    """Seconds on the monotonic clock, with which every age and every wait is measured."""
    wall: datetime
    """The date in UTC, compared only with dates from the API."""


class Clock:
    """The process's clocks.

    The wall clock may be set forward or back at any time. `now()` therefore reads it once and advances it by the
    monotonic clock, so that a jump neither expires sessions nor brings them back.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._started_wall = datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point; never jumps."""
        return time.monotonic()

    def timestamp(self) -> float:
        """Return Unix seconds by the system's clock, for exported timestamps only."""
        return time.time()

    def now(self) -> Moment:
        """Return the current moment."""
        monotonic = self.monotonic()
        return Moment(
            monotonic=monotonic,
            wall=self._started_wall + timedelta(seconds=monotonic - self._started),
        )
