"""Standard output as an audit log: nothing is known of what was written to it before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from exporter.audit.record import Told
from exporter.system.files import OutputError

__all__ = ["StandardOutput"]


class StandardOutput:
    """Appends to standard output. What cannot be taken back is brought to the end of its line. For one thread at a time.

    Args:
        write: the system's call.
    """

    name = "standard output"

    def __init__(self, *, write: Callable[[int, memoryview], int] = os.write) -> None:
        self._system_write = write
        self._torn = b""

    def open(self) -> None:
        """Try whether it is there.

        Raises:
            OutputError: it is not.
        """
        if sys.stdout is None:  # the process was started without one
            raise OutputError("audit log: standard output is closed")

    def told(self) -> Iterator[Told]:
        """Nothing: who reads it knows, we do not."""
        return iter(())

    def append(self, lines: bytes, *, sync: bool) -> None:  # noqa: ARG002 - there is nothing to wait for
        """Write all of these lines. When that fails in the middle, some of them are written, each whole in the end.

        Raises:
            OSError: not all of it was written.
        """
        self._write(self._torn, inside=bool(self._torn))
        self._write(lines, inside=False)

    def _write(self, data: bytes, *, inside: bool) -> None:
        """Write, and keep the rest of a line that breaks off; `inside` says that the data goes on with one."""
        # Not through sys.stdout: what is left in its buffer after a failure would fail once more when Python ends.
        descriptor = sys.stdout.fileno()
        written = 0
        try:
            while written < len(data):
                written += self._system_write(descriptor, memoryview(data)[written:])
        finally:
            if written:
                inside = data[written - 1 : written] != b"\n"
            self._torn = data[written : data.find(b"\n", written) + 1] if inside else b""

    def close(self) -> None:
        """Nothing is to be closed: others write to it as well."""
