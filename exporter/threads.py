"""Threads, and the error that reports that the operating system allows no more of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

_START_SECONDS = 5.0
"""How long a thread may take to start; on a busy machine it takes milliseconds."""


class ThreadLimitError(RuntimeError):
    """The process is at its limit of threads: of the container, the unit, the user or the memory."""


def start_thread(
    body: Callable[[], object], *, name: str, start_seconds: float = _START_SECONDS
) -> threading.Thread:
    """Start a daemon thread, which does not delay the interpreter's exit.

    Args:
        body: what the thread does.
        name: the thread's name.
        start_seconds: how long the thread may take to start.

    Raises:
        ThreadLimitError: the operating system refuses the thread or its memory; `body` is not called.
    """
    try:
        thread = _Thread(body, name=name, start_seconds=start_seconds)
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise ThreadLimitError(
            f"cannot start thread {name}: {threading.active_count()} threads run, and the operating system allows no "
            "more; raise pids_limit of the container, TasksMax= of the unit or ulimit -u of the user"
        ) from error
    return thread


class _Started(threading.Event):
    """The event that `threading.Thread.start` waits for, without end if a new thread has no memory for its first step."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for at most `timeout`, or by default as long as a thread may take to start."""
        return super().wait(self._seconds if timeout is None else timeout)


class _Thread(threading.Thread):
    """A daemon thread that either starts in time and runs, or never runs.

    The base class may also raise an error although the thread runs, if memory is exhausted.
    """

    def __init__(self, body: Callable[[], object], *, name: str, start_seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._started = _Started(start_seconds)  # not part of the interface, but in every Python
        self._body: Callable[[], object] | None = body
        self._start_decided = threading.Lock()
        self._start_decided.acquire()

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError, MemoryError: it cannot be started; `run` does nothing.
        """
        has_started = False
        try:
            super().start()
            has_started = self._started.is_set()
            if not has_started:
                raise RuntimeError("the thread has not started in time")
        finally:
            if not has_started:
                self._body = None
            self._start_decided.release()

    def run(self) -> None:
        """Call the body, unless the start has failed."""
        with self._start_decided:
            body, self._body = self._body, None
        if body is not None:
            body()
