"""Signals as commands to the process: stop and reload."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from queue import Empty, SimpleQueue
from types import FrameType

from exporter.threads import start_thread

WAKE_SECONDS = 1.0
"""The longest wait of the main thread: Windows handles Ctrl-C only between waits."""

_STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGBREAK")
"""SIGBREAK is Windows': Ctrl+Break, console closed, shutdown."""
_RELOAD_SIGNALS = ("SIGHUP",)


class Command(Enum):
    """The meaning of a signal."""

    STOP = "stop"
    RELOAD = "reload"


class Commands:
    """A signal handler that collects commands: stop takes precedence, and pending reloads are merged.

    A second signal to stop ends the process immediately.

    Attributes:
        stop_received: whether the command to stop was received.
        reload_pending: whether `get` has yet to return a command to reload.
    """

    def __init__(self) -> None:
        # Its `put` is reentrant: a signal handler may call it at any time.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self.stop_received = False
        self.reload_pending = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Add the command that the signal stands for."""
        if number in _available(_RELOAD_SIGNALS):
            if not self.reload_pending:
                self.reload_pending = True
                self._wake.put(None)
        elif self.stop_received:
            os._exit(128 + number)
        else:
            self.stop()

    def stop(self) -> None:
        """Add the command to stop."""
        self.stop_received = True
        self._wake.put(None)

    def get(self, timeout_seconds: float | None = None) -> Command | None:
        """Wait for the next command; return None after the timeout. Once received, a stop is returned by every call."""
        if not self.stop_received:
            with suppress(Empty):
                self._wake.get(timeout=timeout_seconds)
        if self.stop_received:
            return Command.STOP
        if self.reload_pending:
            self.reload_pending = False
            return Command.RELOAD
        return None


def hold_signals() -> None:
    """Hold back the signals that `signal_commands` handles, while the program is being imported.

    By default they end the process; even SIGHUP would end one that is about to load its configuration.
    """
    held = Commands()
    for number in _available((*_STOP_SIGNALS, *_RELOAD_SIGNALS)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, held)


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Yield an event that is set by the signals to stop, and when the context ends; for one-shot commands.

    Raises:
        ThreadLimitError: the process cannot have a thread that sets it.
    """
    stop = threading.Event()
    with signal_commands(reload=False) as commands:

        def forward() -> None:
            commands.get()
            stop.set()

        # Not in the signal handler, which may interrupt the main thread while it holds the event's lock.
        waiter = start_thread(forward, name="stop")
        try:
            yield stop
        finally:
            commands.stop()
            waiter.join()


@contextmanager
def signal_commands(*, reload: bool = True) -> Iterator[Commands]:
    """Yield the commands received: SIGTERM, SIGINT and Windows' SIGBREAK stop, SIGHUP reloads.

    A stop that was held back counts; a reload does not, as the configuration has not been loaded yet. The previous
    handlers are restored on exit.

    Args:
        reload: whether to handle SIGHUP, on platforms that have it. Otherwise a SIGHUP that is held back gets its
            default for good, and ends the process if it was received.
    """
    commands = Commands()
    handled = _available(_STOP_SIGNALS)
    if reload:
        handled += _available(_RELOAD_SIGNALS)
    else:
        _release(_available(_RELOAD_SIGNALS))
    previous = {number: signal.signal(number, commands) for number in handled}
    if any(isinstance(held, Commands) and held.stop_received for held in previous.values()):
        commands.stop()
    try:
        yield commands
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _available(names: tuple[str, ...]) -> tuple[signal.Signals, ...]:
    """Return the signals that the platform has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def _release(numbers: tuple[signal.Signals, ...]) -> None:
    """Restore the default of signals that are held back, and deliver those received."""
    for number in numbers:
        held = signal.getsignal(number)
        if isinstance(held, Commands):
            signal.signal(number, signal.SIG_DFL)
            if held.reload_pending:
                signal.raise_signal(number)
