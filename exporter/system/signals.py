"""Signals as commands to the process: stop and reload."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from queue import Empty, SimpleQueue
from types import FrameType

__all__ = ["WAKE_SECONDS", "Command", "Commands", "hold_signals", "signal_commands", "stop_event"]

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
    """The commands received: stop takes precedence, and pending reloads are merged."""

    def __init__(self) -> None:
        # Its `put` is reentrant: a signal handler may call it at any time.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._stop_received = False
        self._reload_pending = False

    @property
    def stop_received(self) -> bool:
        """Whether the command to stop was received."""
        return self._stop_received

    def stop(self) -> None:
        """Add the command to stop."""
        self._stop_received = True
        self._wake.put(None)

    def reload(self) -> None:
        """Add the command to reload, unless it is pending already."""
        if not self._reload_pending:
            self._reload_pending = True
            self._wake.put(None)

    def get(self, timeout_seconds: float | None = None) -> Command | None:
        """Wait for the next command; return None after the timeout. Once received, a stop is returned by every call."""
        if not self._stop_received:
            with suppress(Empty):
                self._wake.get(timeout=timeout_seconds)
        if self._stop_received:
            return Command.STOP
        if self._reload_pending:
            self._reload_pending = False
            return Command.RELOAD
        return None


class _HeldSignals:
    """A handler that holds signals until `signal_commands` handles them; a second signal to stop ends the process."""

    def __init__(self) -> None:
        self.received: set[int] = set()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        stop_signals = _available(_STOP_SIGNALS)
        if number in stop_signals and not self.received.isdisjoint(stop_signals):
            os._exit(128 + number)
        self.received.add(number)


def hold_signals() -> None:
    """Hold back the signals that `signal_commands` handles, while the program is being imported.

    By default they end the process; even SIGHUP would end one that is about to load its configuration.
    """
    held = _HeldSignals()
    for number in _available((*_STOP_SIGNALS, *_RELOAD_SIGNALS)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, held)


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Yield an event that is set by the signals to stop, and when the context ends; for one-shot commands."""
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
            commands.stop()
            waiter.join()


@contextmanager
def signal_commands(*, reload: bool = True) -> Iterator[Commands]:
    """Yield the commands received: SIGTERM, SIGINT and Windows' SIGBREAK stop, SIGHUP reloads.

    A second signal to stop ends the process immediately. A stop that was held back counts; a reload does not, as the
    configuration has not been loaded yet. The previous handlers are restored on exit.

    Args:
        reload: whether to handle SIGHUP, on platforms that have it. Otherwise a SIGHUP that is held back gets its
            default for good, and ends the process if it was received.
    """
    commands = Commands()

    def stop(number: int, _frame: FrameType | None) -> None:
        if commands.stop_received:
            os._exit(128 + number)
        commands.stop()

    def put_reload(_number: int, _frame: FrameType | None) -> None:
        commands.reload()

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = dict.fromkeys(
        _available(_STOP_SIGNALS), stop
    )
    if reload:
        handlers |= dict.fromkeys(_available(_RELOAD_SIGNALS), put_reload)
    else:
        _release(_available(_RELOAD_SIGNALS))
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if any(_was_held(number, previous[number]) for number in _available(_STOP_SIGNALS)):
        commands.stop()
    try:
        yield commands
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _available(names: tuple[str, ...]) -> tuple[signal.Signals, ...]:
    """Return the signals that the platform has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def _was_held(number: signal.Signals, handler: object) -> bool:
    return isinstance(handler, _HeldSignals) and number in handler.received


def _release(numbers: tuple[signal.Signals, ...]) -> None:
    """Restore the default of signals that are held back, and deliver those received."""
    for number in numbers:
        handler = signal.getsignal(number)
        if isinstance(handler, _HeldSignals):
            signal.signal(number, signal.SIG_DFL)
            if number in handler.received:
                signal.raise_signal(number)
