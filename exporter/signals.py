"""What the operator asks the process for by signals: to stop, or to reload."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from queue import SimpleQueue
from types import FrameType

__all__ = ["Wish", "wishes"]


class Wish(Enum):
    """What a signal means."""

    STOP = "stop"
    RELOAD = "reload"


@contextmanager
def wishes() -> Iterator[SimpleQueue[Wish]]:
    """The wishes as they come: SIGTERM and SIGINT to stop, SIGHUP, where there is one, to reload.

    A second wish to stop ends the process at once.
    """
    # Its put may be called from a signal handler, whatever the main thread is doing.
    queue: SimpleQueue[Wish] = SimpleQueue()
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(128 + number)
        stopping = True
        queue.put(Wish.STOP)

    def reload(_number: int, _frame: FrameType | None) -> None:
        queue.put(Wish.RELOAD)

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
    }
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = reload
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield queue
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
