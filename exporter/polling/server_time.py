"""The server's own time: which times are ahead of it, and whether its clock was set."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from math import inf

from exporter.polling.clock import Moment

# Clocks differ slightly between the servers of one installation.
_CLOCK_TOLERANCE = timedelta(minutes=10)

_MIN_SECONDS_BETWEEN_SET_BACKS = 600.0
"""A server whose responses alternate between two clocks would cause a full list in every other poll."""


def is_ahead(time: datetime, now: datetime) -> bool:
    """Whether a time of a session is later than now by the server's own time, and by more than clocks may differ."""
    return time > now + _CLOCK_TOLERANCE


def agree(one: datetime, other: datetime) -> bool:
    """Whether the times of two clocks differ by no more than clocks may."""
    return abs(one - other) <= _CLOCK_TOLERANCE


class ClockJumps:
    """Notices when the server's clock is set: a single `Date` that is wrong must not hide sessions.

    Attributes:
        is_set_back: whether it was set back since the previous poll began, or since the last full list ended. It is True
            in at most one poll in ten minutes; a clock that is set back sooner is reported when these are over, unless a full
            list ends before.
    """

    def __init__(self) -> None:
        self.is_set_back = False
        self._is_reportable = False
        self._reported_at = -inf
        self._previous: Moment | None = None
        self._listed: Moment | None = None

    def begin_poll(self, moment: Moment) -> Moment:
        """Return `moment` for what expires: a clock that was set forward is believed in the next poll."""
        expected = _later(self._previous, moment)
        earliest = max(expected, _later(self._listed, moment)) - _CLOCK_TOLERANCE
        self._is_reportable |= moment.wall < earliest
        since_reported = moment.monotonic - self._reported_at
        self.is_set_back = self._is_reportable and since_reported >= _MIN_SECONDS_BETWEEN_SET_BACKS
        if self.is_set_back:
            self._is_reportable = False
            self._reported_at = moment.monotonic
        self._previous = moment
        return replace(moment, wall=min(moment.wall, expected + _CLOCK_TOLERANCE))

    def end_full_list(self, moment: Moment) -> None:
        """Record the clock by which a full list was read."""
        self._listed = moment
        self._is_reportable = False


def _later(before: Moment | None, now: Moment) -> datetime:
    """Return what the wall clock of `before` would show now if it had not been set."""
    if before is None:
        return now.wall
    return before.wall + timedelta(seconds=now.monotonic - before.monotonic)
