"""Deadlines for whole requests, and cancellation of requests under way.

A socket's timeout bounds the silence between two bytes, never the whole request: a server that sends one byte a second
does not time out. A watchdog thread therefore shuts down the sockets of requests that are past their deadline or
cancelled.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextvars import ContextVar
from datetime import datetime
from enum import Enum, auto

__all__ = ["AbortReason", "Cancellation", "Exchange", "Watchdog", "current_exchange"]

_TICK_SECONDS = 0.1


class Cancellation:
    """The state of one client: its requests are cancelled by its owner's stop event or by `cancel`.

    Args:
        stop: the owner's event, which other clients may share.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the stop event is set or `cancel` was called."""
        return self._stop.is_set() or self._cancelled.is_set()

    def cancel(self) -> None:
        """Cancel this client's requests without setting the stop event."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Sleep until cancelled, for at most `seconds`; return whether it was cancelled."""
        until = time.monotonic() + seconds
        while not self.cancelled and (left := until - time.monotonic()) > 0:
            # A thread can wait for only one event: the stop event ends the wait immediately, `cancel` within a tick.
            self._stop.wait(min(left, _TICK_SECONDS))
        return self.cancelled


class AbortReason(Enum):
    """Why a request was aborted."""

    DEADLINE = auto()
    CANCELLED = auto()


class Exchange:
    """One request under way, and the socket to shut down to abort it. Belongs to the thread that makes the request.

    Args:
        lock: the watchdog's lock.
        deadline: monotonic time at which it is aborted.
        allow_after_stop: whether it continues after cancellation.
    """

    def __init__(
        self, lock: threading.Condition, *, deadline: float, allow_after_stop: bool
    ) -> None:
        self._lock = lock
        self._socket: socket.socket | None = None
        self.deadline = deadline
        self.allow_after_stop = allow_after_stop
        self.abort_reason: AbortReason | None = None
        self.sent = False
        """True once the first byte of the request may have left."""
        self.certificate_not_after: datetime | None = None
        """When the server's certificate expires, if this request opened a new connection."""

    def watch(self, sock: socket.socket) -> None:
        """Shut down the connection of `sock` if the exchange is aborted.

        Raises:
            TimeoutError: it has already been aborted.
        """
        # A duplicate stays valid when TLS wraps the socket or a reader closes it, and its number is not reused for a
        # later connection.
        duplicate = socket.fromfd(sock.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with self._lock:
            self.release()
            if self.abort_reason is None:
                self._socket = duplicate
                return
        duplicate.close()
        raise TimeoutError

    def abort(self, reason: AbortReason) -> None:
        """Shut down the watched connection. The caller holds the lock."""
        self.abort_reason = self.abort_reason or reason
        if self._socket is not None:
            with contextlib.suppress(OSError):  # not connected yet, or no longer
                self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Stop watching. The caller holds the lock."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_current_exchange: ContextVar[Exchange | None] = ContextVar("_current_exchange", default=None)


def current_exchange() -> Exchange | None:
    """Return the exchange that the calling thread is making, or None."""
    return _current_exchange.get()


class Watchdog:
    """Aborts one client's exchanges at their deadlines and on cancellation.

    Its thread starts with the first exchange.

    Args:
        cancellation: aborts all exchanges except those allowed after a stop.
        name: the thread's name.
    """

    def __init__(self, cancellation: Cancellation, *, name: str) -> None:
        self._cancellation = cancellation
        self._name = name
        self._changed = threading.Condition()
        self._exchanges: set[Exchange] = set()
        self._thread: threading.Thread | None = None
        self._idle = False
        self._closed = False

    def begin(self, seconds: float, *, allow_after_stop: bool = False) -> Exchange:
        """Start watching the exchange that the calling thread is about to make.

        Args:
            seconds: the time limit of the whole exchange.
            allow_after_stop: whether it continues after cancellation.
        """
        exchange = Exchange(
            self._changed, deadline=time.monotonic() + seconds, allow_after_stop=allow_after_stop
        )
        with self._changed:
            if self._cancellation.cancelled and not allow_after_stop:
                exchange.abort(AbortReason.CANCELLED)
            self._exchanges.add(exchange)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify_all()
        _current_exchange.set(exchange)
        return exchange

    def finish(self, exchange: Exchange) -> AbortReason | None:
        """Stop watching an exchange; return why it was aborted, or None."""
        _current_exchange.set(None)
        with self._changed:
            self._exchanges.discard(exchange)
            exchange.release()
            return exchange.abort_reason

    def enforce_now(self) -> None:
        """Abort cancelled and overdue exchanges now rather than at the next tick."""
        with self._changed:
            self._abort_due()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                self._abort_due()
                self._idle = not self._exchanges
                self._changed.wait(None if self._idle else _TICK_SECONDS)

    def _abort_due(self) -> None:
        now = time.monotonic()
        cancelled = self._cancellation.cancelled
        for exchange in self._exchanges:
            if cancelled and not exchange.allow_after_stop:
                exchange.abort(AbortReason.CANCELLED)
            elif exchange.deadline <= now:
                exchange.abort(AbortReason.DEADLINE)
