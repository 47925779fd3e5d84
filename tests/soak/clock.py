"""Simulated time shared by two processes."""

from __future__ import annotations

import mmap
import struct
from datetime import UTC, datetime
from pathlib import Path

from support.exporter_stepped import MovableClock

_SECONDS = struct.Struct("d")


class SharedClock(MovableClock):
    """The machine's clocks, set ahead by the seconds stored in a file, which every process can increase.

    Args:
        file: created if it does not exist.
    """

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(_SECONDS.pack(0.0))
        with file.open("r+b") as opened:
            self._ahead = mmap.mmap(opened.fileno(), _SECONDS.size)
        super().__init__()

    @property
    def ahead_seconds(self) -> float:
        """How far the clocks are ahead."""
        seconds: float = _SECONDS.unpack_from(self._ahead)[0]
        return seconds

    @ahead_seconds.setter
    def ahead_seconds(self, seconds: float) -> None:
        _SECONDS.pack_into(self._ahead, 0, max(seconds, self.ahead_seconds))

    def wall(self) -> datetime:
        """Return the date."""
        return datetime.fromtimestamp(self.timestamp(), UTC)
