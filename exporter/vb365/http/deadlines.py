"""Ends requests from outside: when their whole time is over, and all of them when the client is stopped.

A socket's timeout bounds the silence between two bytes, never the whole: a server that sends a byte a second is never
silent. So each request under way is known here with what to cut, and one thread cuts it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["AbortReason", "Cancellation", "Exchange", "Watchdog", "current_exchange", "dialled"]

_SLICE_SECONDS: Final = 0.1


class Cancellation:
    """Whether the client still lives: until it is closed or its owner's stop event is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._closed = threading.Event()

    @property
    def cancelled(self) -> bool:
        """True once the client is stopped or closed."""
        return self._stop.is_set() or self._closed.is_set()

    def cancel(self) -> None:
        """End it; the owner's stop event, which others may share, stays as it is."""
        self._closed.set()

    def wait(self, seconds: float) -> bool:
        """Sleep, at most so long; True when the client was stopped meanwhile."""
        until = time.monotonic() + seconds
        while not self.cancelled and (left := until - time.monotonic()) > 0:
            # One can wait for one event only: stop ends the wait at once, closing within a slice.
            self._stop.wait(min(left, _SLICE_SECONDS))
        return self.cancelled


class AbortReason(Enum):
    """Why a request was cut."""

    DEADLINE = auto()
    STOPPED = auto()


class Exchange:
    """One request under way, and what to cut to end it. Belongs to the thread that makes the request."""

    def __init__(self, lock: threading.Condition, *, until: float, allow_after_stop: bool) -> None:
        self._lock = lock
        self._cut: Callable[[], None] | None = None
        self.until = until
        self.allow_after_stop = allow_after_stop
        self.ending: AbortReason | None = None
        self.sent = False
        """True from when the first byte of the request may have left."""
        self.certificate_not_after: datetime | None = None
        """When the certificate expires that the server showed, if this request made a new connection."""

    def watch(self, cut: Callable[[], None]) -> None:
        """From now on this is what ends the request; at once, when it has already been ended."""
        with self._lock:
            self._cut = cut
            if self.ending is not None:
                cut()

    def watch_socket(self, sock: socket.socket) -> None:
        """From now on the request hangs on this socket."""
        self.watch(lambda: _shut_down(sock))

    def end(self, ending: AbortReason) -> None:
        """Cut it. The caller holds the lock."""
        self.ending = self.ending or ending
        if self._cut is not None:
            self._cut()


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already: just as well
        # Not the TLS socket's own method, which takes the TLS state away from under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Here(threading.local):
    exchange: Exchange | None = None


_here = _Here()


def current_exchange() -> Exchange | None:
    """The request that this thread is making, None when it makes none under a watchdog."""
    return _here.exchange


class Watchdog:
    """Watches over the requests of one client, in a thread that exists from the first one on."""

    def __init__(self, cancellation: Cancellation, *, name: str) -> None:
        self._cancellation = cancellation
        self._name = name
        self._changed = threading.Condition()
        self._exchanges: set[Exchange] = set()
        self._thread: threading.Thread | None = None
        self._idle = False
        self._closed = False

    def begin(self, seconds: float, *, allow_after_stop: bool = False) -> Exchange:
        """Watch the request that this thread is about to make, until `finish`.

        Args:
            seconds: how long it may take as a whole.
            allow_after_stop: it is made although, or because, the client is stopped.
        """
        exchange = Exchange(
            self._changed, until=time.monotonic() + seconds, allow_after_stop=allow_after_stop
        )
        with self._changed:
            if self._cancellation.cancelled and not allow_after_stop:
                exchange.end(AbortReason.STOPPED)
            self._exchanges.add(exchange)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify_all()
        _here.exchange = exchange
        return exchange

    def finish(self, exchange: Exchange) -> AbortReason | None:
        """The request is over; returns why it was cut, None when it was not."""
        _here.exchange = None
        with self._changed:
            self._exchanges.discard(exchange)
            return exchange.ending

    def enforce_now(self) -> None:
        """Cut what is to be cut now rather than within a tenth of a second."""
        with self._changed:
            self._cut_due()

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
                self._cut_due()
                # Requests often follow each other closely: it is cheaper to look once more than to be woken by each.
                was_busy = bool(self._exchanges)
                self._changed.wait(_SLICE_SECONDS)
                if not was_busy and not self._exchanges and not self._closed:
                    self._idle = True
                    self._changed.wait()
                    self._idle = False

    def _cut_due(self) -> None:
        now = time.monotonic()
        stopped = self._cancellation.cancelled
        for exchange in self._exchanges:
            if stopped and not exchange.allow_after_stop:
                exchange.end(AbortReason.STOPPED)
            elif exchange.until <= now:
                exchange.end(AbortReason.DEADLINE)


def dialled(connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect, in a helping thread: neither name resolution nor connecting can be ended from outside everywhere.

    When the watchdog cuts the request this returns at once; the helping thread ends by itself and closes what it got.

    Raises:
        TimeoutError: the request was cut.
        Exception: whatever `connect` raised.
    """
    exchange = current_exchange()
    if exchange is None:
        return connect()
    dialling = _Dialling(connect)
    exchange.watch(dialling.abandon)
    threading.Thread(target=dialling.run, name="vb365-dial", daemon=True).start()
    sock = dialling.outcome()
    exchange.watch_socket(sock)
    return sock


class _Dialling:
    """A connection in the making, between the thread that makes it and the one that waits for it."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._abandoned = False
        self._sock: socket.socket | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        sock, error = None, None
        try:
            sock = self._connect()
        except Exception as raised:  # noqa: BLE001 - handed over to the thread that waits, whatever it is
            error = raised
        with self._lock:
            if self._abandoned and sock is not None:
                sock.close()
            else:
                self._sock, self._error = sock, error
        self._over.set()

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._sock is not None:
                self._sock.close()
        self._over.set()

    def outcome(self) -> socket.socket:
        self._over.wait()
        with self._lock:
            sock, error, self._error = self._sock, self._error, None
            if error is not None:
                raise error
            if sock is None or self._abandoned:
                raise TimeoutError
            return sock
