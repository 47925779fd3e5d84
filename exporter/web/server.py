"""The web server: aiohttp in a thread and an event loop of its own, with limits and a drain."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any

import structlog

from exporter.web.connections import ConnectionManager
from exporter.web.listeners import BACKLOG, Address, WebServerError, address_of, bind_listeners

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from exporter.web.connections import Handler
    from exporter.web.tls import TLSSource

__all__ = ["Address", "WebServer", "WebServerError", "bind_listeners"]

log = structlog.get_logger()

# Not 5 or 10 s, the usual scrape intervals: closing must not race with the next scrape.
IDLE_TIMEOUT_SECONDS = 8.0
# Keeps descriptors for the pollers' own connections under the usual limit of 1024.
MAX_CONNECTIONS = 512
# A scrape needs the interpreter lock a dozen times. A thread that renders or parses meanwhile keeps it this long each
# time; by default that is 5 ms.
_LOCK_KEPT_SECONDS = 0.001


class WebServer:
    """Serves a handler on listening sockets from a thread of its own.

    Args:
        handler: answers a request; what it raises, connection errors excepted, is a bug that
            `error_response` answers.
        error_response: makes the answer to a request that never reaches the handler, by HTTP status: one
            that cannot be read (400).
        listeners: bound and listening sockets, from `bind_listeners` or a service manager. The
            server owns and closes them.
        tls: gives each new connection its TLS; None: plain HTTP.
        idle_timeout_seconds: how long a client may take for a TLS handshake, then for a request,
            counted from the connection or from the end of the last answer.
        max_connections: connections at one time; for a further one, that which has been silent
            longest is closed.
    """

    def __init__(
        self,
        handler: Handler,
        listeners: Sequence[socket.socket],
        *,
        error_response: Callable[[int], web.Response],
        tls: TLSSource | None = None,
        idle_timeout_seconds: float = IDLE_TIMEOUT_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._handler = handler
        self._listeners = tuple(listeners)
        self._error_response = error_response
        self._tls = tls
        self._idle_timeout_seconds = idle_timeout_seconds
        self._max_connections = max_connections
        self._addresses = tuple(address_of(listener) for listener in self._listeners)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._serving = threading.Event()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._drain_seconds = 0.0

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses in use; a port 0 that was asked for is a real port here."""
        return self._addresses

    @property
    def running(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Serve from now on; returns when requests are answered.

        Raises:
            WebServerError: the event loop cannot serve the listeners.
        """
        sys.setswitchinterval(_LOCK_KEPT_SECONDS)
        self._thread.start()
        self._serving.wait()
        if self._failure is not None:
            self._thread.join()
            raise WebServerError(f"cannot serve HTTP: {self._failure}") from self._failure

    def close(self, timeout_seconds: float) -> None:
        """Stop accepting, let requests in flight finish for that long, cut the rest off.

        Returns when the thread has ended, or a second after the time-out. May be called again,
        and without `start`.
        """
        if self._thread.ident is None:
            for listener in self._listeners:
                listener.close()
            return
        if self._loop is not None and self._thread.is_alive():
            self._drain_seconds = timeout_seconds
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:  # the loop has closed since: there is nothing left to stop
                return
        self._thread.join(timeout_seconds + 1.0)
        if self._thread.is_alive():
            log.warning("web server did not stop in time", timeout_seconds=timeout_seconds)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # a thread has nobody above it
            if self._serving.is_set():
                log.exception("web server died")
            else:
                self._failure = error
        finally:
            for listener in self._listeners:
                listener.close()
            self._serving.set()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_problem)
        connections = ConnectionManager(
            self._handler,
            error_response=self._error_response,
            tls=self._tls,
            most=self._max_connections,
            idle_timeout_seconds=self._idle_timeout_seconds,
        )
        for listener in self._listeners:
            listener.listen(BACKLOG)  # fails for what is no listener, such as a datagram socket
        accepting = [
            asyncio.create_task(connections.accept(listener)) for listener in self._listeners
        ]
        stopping = asyncio.create_task(self._stop.wait())
        self._serving.set()
        tasks: list[asyncio.Task[Any]] = [stopping, *accepting]
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in accepting:
            task.cancel()
        for task in ended:
            task.result()
        await asyncio.wait(accepting)
        for listener in self._listeners:
            listener.close()
        await connections.drain(self._drain_seconds)


def _log_loop_problem(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    problem = context.get("exception")
    if isinstance(problem, ConnectionError | ssl.SSLError):  # a client's trouble, not ours
        log.debug("connection failed", detail=context["message"], error=type(problem).__name__)
    else:
        log.error("web server error", detail=context["message"], exc_info=problem)
