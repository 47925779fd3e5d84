"""Signals as commands to the process: stop, or reload."""

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
    """The meaning of a signal."""

    STOP = "stop"
    RELOAD = "reload"


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Return an event that SIGTERM and SIGINT set, for one-shot commands."""
    stop = threading.Event()
    with signal_commands(reload=False) as commands:

        def forward() -> None:
            commands.get()
            stop.set()

        # Not in the signal handler: it may interrupt the main thread while that holds the event's lock.
        waiter = threading.Thread(target=forward, name="stop", daemon=True)
        waiter.start()
        try:
            yield stop
        finally:
            commands.put(Command.STOP)
            waiter.join()


@contextmanager
def signal_commands(*, reload: bool = True) -> Iterator[SimpleQueue[Command]]:
    """Return a queue of the commands received: SIGTERM, SIGINT and Windows' SIGBREAK stop, SIGHUP reloads.

    A second signal to stop ends the process at once. The previous handlers are restored on exit.

    Args:
        reload: handle SIGHUP, where the platform has it.
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
