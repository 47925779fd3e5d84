"""Stand-ins for the system clocks that `exporter.polling.clock` reads."""

from __future__ import annotations

import time
from datetime import datetime, tzinfo

import pytest

from exporter.polling import clock
from support.sample_sessions import NOON


class SystemClocks:
    """Stands for the modules `time` and `datetime` there.

    Args:
        monkeypatch: puts it in their place.
        running: whether time passes by itself; else it is noon until a test moves it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, running: bool = False) -> None:
        self.passed_seconds = 0.0
        """How much time has passed, on both clocks."""
        self.set_seconds = 0.0
        """By how much somebody has set the wall clock, forward or back."""
        self._running = running
        monkeypatch.setattr(clock, "time", self)
        monkeypatch.setattr(clock, "datetime", self)

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return (time.monotonic() if self._running else 1000.0) + self.passed_seconds

    def time(self) -> float:
        """As `time.time`."""
        begun = time.time() if self._running else NOON.timestamp()
        return begun + self.passed_seconds + self.set_seconds

    def now(self, zone: tzinfo) -> datetime:
        """As `datetime.now`."""
        return datetime.fromtimestamp(self.time(), zone)
