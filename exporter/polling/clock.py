"""Monotonic and wall-clock time, replaceable in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exporter.monotonic import system_monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A point in time on both clocks."""

    monotonic: float
    """Seconds on the monotonic clock, suspended time included; used for every age and every wait."""
    wall: datetime
    """The date in UTC, compared only with dates from the API."""
    is_confirmed: bool = False
    """Whether two clocks show this date, the server's and this machine's, within ten minutes."""


class Clock:
    """The process's clocks.

    The wall clock may be set forward or back at any time. It is therefore read once, and `now()` adds the monotonic time
    since then, so that a jump neither expires sessions nor restores them.

    Args:
        monotonic: reads the system's monotonic clock, in seconds; by default one that counts suspended time.
        timestamp: reads the system's wall clock, in Unix seconds.
        wait: sleeps between the attempts of a request and returns whether it was interrupted; by default in real time.
        awake: reads a monotonic clock that does not count suspended time, as waits do not.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] | None = None,
        timestamp: Callable[[], float] = time.time,
        wait: Callable[[float], bool] | None = None,
        awake: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wait = wait
        self._awake = awake
        self._monotonic = monotonic or system_monotonic()
        self._timestamp = timestamp
        self._started = self._monotonic()
        self._started_awake = awake()
        self._started_wall = datetime.fromtimestamp(timestamp(), UTC)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point in time, suspended time included; cannot be set."""
        return self._monotonic()

    def suspended(self) -> float:
        """Return for how many seconds the machine was suspended since this clock was created."""
        return (self.monotonic() - self._started) - (self._awake() - self._started_awake)

    def timestamp(self) -> float:
        """Return Unix seconds by the system's clock, for exported timestamps only."""
        return self._timestamp()

    def now(self) -> Moment:
        """Return the current moment."""
        monotonic = self.monotonic()
        return Moment(
            monotonic=monotonic,
            wall=self._started_wall + timedelta(seconds=monotonic - self._started),
        )
