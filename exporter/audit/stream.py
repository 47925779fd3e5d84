"""Standard output as an audit log; what earlier processes wrote is unknown."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator

from exporter.audit.record import LoggedEvent
from exporter.system.files import OutputError, write_some

# The kernel does not interleave such writes to a pipe with those of others, such as the log after `2>&1`.
_ATOMIC_BYTES: int = getattr(select, "PIPE_BUF", 512)
# Shorter than a write that `AuditLog` reports as stalled.
_MAX_WAIT_SECONDS = 10.0


class PartialAppendError(OSError):
    """Only the first lines were written.

    Attributes:
        written_lines: how many; an interrupted line is not counted.
    """

    def __init__(self, cause: OSError, *, written_lines: int) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.written_lines = written_lines


class StandardOutput:
    """Appends lines to standard output. Not thread-safe.

    Lines of up to 4096 bytes (on Linux) stay whole if the log or another process writes to the same pipe or socket.

    Args:
        write: the system call.
        max_wait_seconds: how long a write to a non-blocking standard output waits for its reader.
    """

    name = "standard output"

    def __init__(
        self,
        *,
        write: Callable[[int, memoryview], int] = os.write,
        max_wait_seconds: float = _MAX_WAIT_SECONDS,
    ) -> None:
        self._system_write = write
        self._max_wait_seconds = max_wait_seconds
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
            PartialAppendError: not all lines were written.
        """
        # Not through sys.stdout: data left in its buffer after a failure would fail again at exit.
        descriptor = sys.stdout.fileno()
        unfinished = self._unfinished
        data = unfinished + lines
        written = 0
        try:
            while written < len(data):
                written += write_some(
                    descriptor,
                    memoryview(data)[written : _end_of_write(data, written)],
                    max_wait_seconds=self._max_wait_seconds,
                    write=self._system_write,
                )
        except OSError as error:
            complete = data[len(unfinished) : written].count(b"\n")
            raise PartialAppendError(error, written_lines=complete) from error
        finally:
            inside_line = data[written - 1 : written] != b"\n" if written else bool(unfinished)
            line_end = data.find(b"\n", written) + 1
            self._unfinished = data[written:line_end] if inside_line else b""

    def close(self) -> None:
        """Do nothing: standard output belongs to the process."""


def _end_of_write(lines: bytes, start: int) -> int:
    """Return the end of the last line that an atomic write can include, or else of the first line."""
    last_newline = lines.rfind(b"\n", start, start + _ATOMIC_BYTES)
    return 1 + (last_newline if last_newline >= 0 else lines.index(b"\n", start))
