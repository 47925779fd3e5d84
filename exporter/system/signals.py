"""What the operator asks the process for by signals: to stop, or to reload."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from queue import SimpleQueue
from types import FrameType

__all__ = ["Command", "signal_commands", "stop_event"]


class Command(Enum):
    """What a signal means."""

    STOP = "stop"
    RELOAD = "reload"


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, for what ends by itself."""
    stop = threading.Event()
    with signal_commands(reload=False) as queue:

        def forward() -> None:
            queue.get()
            stop.set()

        # Not in the handler itself: it may interrupt the main thread where that holds the event's lock.
        waiter = threading.Thread(target=forward, name="stop", daemon=True)
        waiter.start()
        try:
            yield stop
        finally:
            queue.put(Command.STOP)
            waiter.join()


@contextmanager
def signal_commands(*, reload: bool = True) -> Iterator[SimpleQueue[Command]]:
    """The signal_commands as they come: SIGTERM, SIGINT and Windows' SIGBREAK to stop, SIGHUP, where there is one, to reload.

    A second wish to stop ends the process at once.
    """
    # Its put may be called from a signal handler, whatever the main thread is doing.
    queue: SimpleQueue[Command] = SimpleQueue()
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(128 + number)
        stopping = True
        queue.put(Command.STOP)

    def put_reload(_number: int, _frame: FrameType | None) -> None:
        queue.put(Command.RELOAD)

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
    }
    if hasattr(signal, "SIGBREAK"):  # Ctrl+Break, a console that closes, Windows that shuts down
        handlers[signal.SIGBREAK] = stop
    if reload and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = put_reload
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield queue
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
