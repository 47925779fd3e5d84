"""Standard output as an audit log; what earlier processes wrote is unknown."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator

from exporter.audit.record import LoggedEvent
from exporter.system.files import OutputError

_RETRY_SECONDS = 0.1


class StandardOutput:
    """Appends lines to standard output. Not thread-safe.

    Args:
        write: the system call.
    """

    name = "standard output"

    def __init__(self, *, write: Callable[[int, memoryview], int] = os.write) -> None:
        self._system_write = write
        self._unfinished = b""  # the rest of a line that a failure interrupted

    def open(self) -> None:
        """Check that there is a standard output.

        Raises:
            OutputError: there is none.
        """
        if sys.stdout is None:  # the process was started without one
            raise OutputError("audit log: standard output is closed")

    def read_events(self) -> Iterator[LoggedEvent]:
        """Return nothing: standard output cannot be read back."""
        return iter(())

    def append(self, lines: bytes, *, sync: bool) -> None:  # noqa: ARG002 - a stream cannot be synced
        """Write all of the lines. After a failure some are written; the next call first completes an interrupted line.

        Raises:
            OSError: not all lines were written.
        """
        self._write(self._unfinished, inside_line=bool(self._unfinished))
        self._write(lines, inside_line=False)

    def _write(self, data: bytes, *, inside_line: bool) -> None:
        """Write `data`; keep the rest of a line that a failure interrupts."""
        # Not through sys.stdout: data left in its buffer after a failure would fail again at exit.
        descriptor = sys.stdout.fileno()
        written = 0
        try:
            while written < len(data):
                try:
                    written += self._system_write(descriptor, memoryview(data)[written:])
                except BlockingIOError:  # another process that shares it has made it non-blocking
                    time.sleep(_RETRY_SECONDS)
        finally:
            if written:
                inside_line = data[written - 1 : written] != b"\n"
            line_end = data.find(b"\n", written) + 1
            self._unfinished = data[written:line_end] if inside_line else b""

    def close(self) -> None:
        """Do nothing: standard output belongs to the process."""
