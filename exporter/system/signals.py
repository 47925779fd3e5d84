"""Signals as commands to the process: stop and reload."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from queue import SimpleQueue
from types import FrameType

__all__ = ["WAKE_SECONDS", "Command", "signal_commands", "stop_event"]

WAKE_SECONDS = 1.0
"""The longest wait of the main thread: Windows handles Ctrl-C only between waits."""


class Command(Enum):
    """The meaning of a signal."""

    STOP = "stop"
    RELOAD = "reload"


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Yield an event that is set by the signals to stop, for one-shot commands."""
    stop = threading.Event()
    with signal_commands(reload=False) as commands:

        def forward() -> None:
            commands.get()
            stop.set()

        # Not in the signal handler, which may interrupt the main thread while it holds the event's lock.
        waiter = threading.Thread(target=forward, name="stop", daemon=True)
        waiter.start()
        try:
            yield stop
        finally:
            commands.put(Command.STOP)
            waiter.join()


@contextmanager
def signal_commands(*, reload: bool = True) -> Iterator[SimpleQueue[Command]]:
    """Yield a queue of the commands received: SIGTERM, SIGINT and Windows' SIGBREAK stop, SIGHUP reloads.

    A second signal to stop ends the process immediately. The previous handlers are restored on exit.

    Args:
        reload: whether to handle SIGHUP, on platforms that have it.
    """
    # SimpleQueue.put is reentrant: a signal handler may call it at any time.
    commands: SimpleQueue[Command] = SimpleQueue()
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(128 + number)
        stopping = True
        commands.put(Command.STOP)

    def put_reload(_number: int, _frame: FrameType | None) -> None:
        commands.put(Command.RELOAD)

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
    }
    if hasattr(signal, "SIGBREAK"):  # Ctrl+Break, console closed, Windows shutdown
        handlers[signal.SIGBREAK] = stop
    if reload and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = put_reload
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield commands
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
