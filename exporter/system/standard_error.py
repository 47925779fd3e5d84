"""Standard error: a thread writes the lines of the log, so that a stalled reader delays nothing else."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TextIO

from exporter.threads import start_thread

# At 100,000 lines a day, a stalled reader loses lines only after a quarter of an hour.
_MAX_QUEUED_LINES = 1000
_FLUSH_SECONDS = 0.5
# Between attempts to write to a stream that another process has made non-blocking.
_RETRY_SECONDS = 0.1

Write = Callable[[bytes], int | None]
"""Like `io.RawIOBase.write`: returns how many bytes were written, None if the stream would block."""


class LineWriter:
    """Writes lines in a thread; a line that does not fit into the queue or cannot be written is dropped and counted.

    `logging.handlers.QueueListener` is unsuitable: its stop waits until its handler has returned, and a handler that
    waits for a reader holds a lock that the logging module acquires at exit.

    Args:
        write: writes to the stream.
        encode: converts a line to bytes.
        report: logs how many lines were dropped; called by the thread when lines can be written again.
        max_queued_lines: the maximum number of lines that wait for the thread.

    Raises:
        ThreadLimitError: the process cannot have the thread.
    """

    def __init__(
        self,
        write: Write,
        *,
        encode: Callable[[str], bytes],
        report: Callable[[int], object],
        max_queued_lines: int = _MAX_QUEUED_LINES,
    ) -> None:
        self._write_bytes = write
        self._encode = encode
        self._report = report
        self._max_queued_lines = max_queued_lines
        # Its `put` is reentrant: the garbage collector may log at any time.
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._not_queued = 0
        # The thread alone uses the rest.
        self._not_written = 0
        self._reported = 0
        self._inside_line = False
        start_thread(self._run, name="log")

    def put(self, line: str) -> None:
        """Queue a line without its line end. Never waits.

        Callers in several threads must take turns; a nested call in the same thread may interrupt.
        """
        if self._queue.qsize() < self._max_queued_lines:
            self._queue.put(line)
        else:
            self._not_queued += 1

    def flush(self, seconds: float) -> bool:
        """Wait until the queued lines are written or dropped, for at most `seconds`; return whether they are."""
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(seconds)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            if not self._write(item):
                self._not_written += 1
            elif self._queue.empty():
                self._report_dropped()

    def _report_dropped(self) -> None:
        dropped = self._not_queued + self._not_written
        if dropped > self._reported:
            self._report(dropped - self._reported)
            self._reported = dropped

    def _write(self, line: str) -> bool:
        """Write a line; return False if it cannot be written."""
        try:
            rest = memoryview((b"\n" if self._inside_line else b"") + self._encode(line) + b"\n")
            while rest:
                written = self._write_bytes(bytes(rest))
                if written:
                    self._inside_line = written < len(rest)
                    rest = rest[written:]
                else:
                    time.sleep(_RETRY_SECONDS)
        except Exception:  # noqa: BLE001 - there is no other place to report it, and the next line may succeed
            return False
        return True


def standard_error_writer(report: Callable[[int], object]) -> Callable[[str], object]:
    """Return a function that writes a line to standard error without waiting; it does nothing if there is none.

    At exit, pending lines get at most half a second.

    Args:
        report: logs how many lines were dropped.
    """
    if sys.stderr is None:  # the process was started without one
        return lambda _line: None
    encoding = sys.stderr.encoding
    writer = LineWriter(
        _raw_write(sys.stderr),
        encode=lambda line: line.encode(encoding, "backslashreplace"),
        report=report,
    )
    atexit.register(writer.flush, _FLUSH_SECONDS)
    return writer.put


def print_error(text: str) -> None:
    """Write to standard error directly, bypassing the log; do nothing if it cannot be written."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)


def _raw_write(stream: TextIO) -> Write:
    """Return a function that writes past the stream's buffer, whose lock the interpreter acquires at exit."""
    # With PYTHONUNBUFFERED there is no buffer.
    write: Write = getattr(stream.buffer, "raw", stream.buffer).write
    return write
