"""Deadlines for whole requests, and cancellation of requests under way.

A socket's timeout bounds the silence between two bytes, never the whole request: a server that sends one byte a second
does not time out. A watchdog thread, one for all clients of the process, therefore shuts down the sockets of requests
that are past their deadline or cancelled.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto

from exporter.monotonic import system_monotonic
from exporter.threads import start_thread

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


class Step(StrEnum):
    """What an exchange is doing; a failure is attributed to the peer of this step."""

    RESOLVE = "resolution of the host name"
    CONNECT = "connection"
    PROXY_HANDSHAKE = "TLS handshake with the proxy"
    TUNNEL = "connection through the proxy"
    HANDSHAKE = "TLS handshake"
    REQUEST = "request itself"


@dataclass(slots=True, kw_only=True)
class ConnectionTrace:
    """What happened while an exchange opened its connection; without `host`, it used an open one."""

    step: Step = Step.REQUEST
    """What the exchange is doing, or was doing when it failed."""
    host: str = ""
    """The host that was connected to: the server, or its proxy."""
    proxy: str = ""
    """Host and port of the proxy; empty without one."""
    addresses: tuple[str, ...] = ()
    """What the name of the host resolved to."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why addresses could not be connected to."""
    address: str = ""
    """The address that was connected to."""
    tls_version: str = ""
    certificate: bytes = b""
    """The server's own certificate, in DER."""
    certificate_not_after: datetime | None = None


class Exchange:
    """One request under way, and the socket to shut down to abort it. Belongs to the thread that makes the request.

    Args:
        lock: the watchdog's lock.
        cancellation: aborts it; None if it continues after cancellation.
        seconds: how long it takes at most.
        monotonic: the monotonic clock.
    """

    def __init__(
        self,
        lock: threading.Lock,
        *,
        cancellation: Cancellation | None,
        seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._lock = lock
        self._cancellation = cancellation
        self._monotonic = monotonic
        self.begun_at = monotonic()
        """When it began, in monotonic seconds."""
        self._deadline = self.begun_at + seconds
        self._socket: socket.socket | None = None
        self.abort_reason: AbortReason | None = None
        self.trace = ConnectionTrace()
        self.sent = False
        """True once the first byte of the request may have left."""

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

    def abort_if_due(self) -> None:
        """Shut down the watched connection if cancelled or past the deadline. The caller holds the lock."""
        if self._cancellation is not None and self._cancellation.cancelled:
            self._abort(AbortReason.CANCELLED)
        else:
            self.abort_if_overdue()

    def abort_if_overdue(self) -> None:
        """Shut down the watched connection if past the deadline. The caller holds the lock."""
        if self._deadline <= self._monotonic():
            self._abort(AbortReason.DEADLINE)

    def _abort(self, reason: AbortReason) -> None:
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


def current_exchange() -> Exchange:
    """Return the exchange that the calling thread is making.

    Raises:
        RuntimeError: it is making none.
    """
    exchange = _current_exchange.get()
    if exchange is None:
        raise RuntimeError("a request outside of an exchange has no deadline")
    return exchange


class Watchdog:
    """Aborts exchanges at their deadlines and on cancellation, in a thread that starts with the first one and then stays.

    If the thread ended whenever there are no exchanges, it might not start again at a limit of threads, and then no request
    could begin.

    Args:
        monotonic: the monotonic clock; by default suspended time counts, as a response from before a suspension is old.
    """

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        self._monotonic = monotonic or system_monotonic()
        self._lock = threading.Lock()
        self._has_exchanges = threading.Condition(self._lock)
        self._exchanges: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    def begin(self, seconds: float, *, cancellation: Cancellation | None) -> Exchange:
        """Start watching the exchange that the calling thread is about to make.

        Args:
            seconds: the time limit of the whole exchange.
            cancellation: aborts it; None if it continues after cancellation.

        Raises:
            ThreadLimitError: nothing would enforce the deadline.
        """
        exchange = Exchange(
            self._lock, cancellation=cancellation, seconds=seconds, monotonic=self._monotonic
        )
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = start_thread(self._run, name="watchdog")
            exchange.abort_if_due()
            self._exchanges.add(exchange)
            self._has_exchanges.notify()
        _current_exchange.set(exchange)
        return exchange

    def finish(self, exchange: Exchange) -> AbortReason | None:
        """Stop watching an exchange; return why it was aborted, or None."""
        _current_exchange.set(None)
        with self._lock:
            self._exchanges.discard(exchange)
            # After a suspension of the process, its response is as old as the suspension was long, and this thread may
            # read it before the watchdog's thread runs again.
            exchange.abort_if_overdue()
            exchange.release()
            return exchange.abort_reason

    def enforce_now(self) -> None:
        """Abort cancelled and overdue exchanges now rather than at the next tick."""
        with self._lock:
            self._abort_due()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._exchanges:
                    self._has_exchanges.wait()
                self._abort_due()
            time.sleep(_TICK_SECONDS)

    def _abort_due(self) -> None:
        for exchange in self._exchanges:
            # No failure ends the thread or keeps the others from being aborted; this one is tried again at the next tick.
            with contextlib.suppress(Exception):
                exchange.abort_if_due()
