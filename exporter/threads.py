"""Threads, and the error that reports that the operating system allows no more of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["ThreadLimitError", "start_thread"]


class ThreadLimitError(Exception):
    """The process is at its limit of threads: of the container, the unit, the user or the memory."""


def start_thread(body: Callable[[], object], *, name: str) -> threading.Thread:
    """Start a daemon thread, which does not delay the interpreter's exit.

    Raises:
        ThreadLimitError: the operating system refuses the thread.
    """
    thread = threading.Thread(target=body, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ThreadLimitError(
            f"cannot start thread {name}: {threading.active_count()} threads run, and the operating system allows no "
            "more; raise pids_limit of the container, TasksMax= of the unit or ulimit -u of the user"
        ) from error
    return thread
