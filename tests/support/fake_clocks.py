"""Stand-ins for the system clocks, which tests set."""

from __future__ import annotations

import time

from exporter.polling.clock import Clock
from support.sample_sessions import NOON


class SystemClocks:
    """A monotonic and a wall clock.

    Args:
        running: whether time passes by itself; otherwise it is noon until a test advances the clocks.
    """

    def __init__(self, *, running: bool = False) -> None:
        self.passed_seconds = 0.0
        """How far both clocks have been advanced."""
        self.set_seconds = 0.0
        """How far the wall clock has been set forward or back."""
        self._running = running

    def clock(self) -> Clock:
        """Return a process's clock that reads these system clocks."""
        return Clock(self.monotonic, self.time)

    def monotonic(self) -> float:
        """Return seconds, as `time.monotonic` does."""
        return (time.monotonic() if self._running else 1000.0) + self.passed_seconds

    def time(self) -> float:
        """Return Unix seconds, as `time.time` does."""
        begun = time.time() if self._running else NOON.timestamp()
        return begun + self.passed_seconds + self.set_seconds
