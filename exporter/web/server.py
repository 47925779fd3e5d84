"""The web server: an event loop in its own thread, with an orderly shutdown."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from typing import Any

import structlog

from exporter.web.connections import ConnectionManager
from exporter.web.listeners import BACKLOG, WebServerError, address_of

log = structlog.get_logger()

# A scrape takes the interpreter lock about a dozen times, and a busy thread keeps it this long each time. With Python's
# default of 5 ms, the slowest 1 % of the scrapes beside a rendering thread take half as long again.
_SWITCH_INTERVAL_SECONDS = 0.001


class WebServer:
    """Serves connections on listening sockets, in its own thread.

    Args:
        connections: accepts and serves the connections.
        listeners: bound and listening sockets, from `bind_listeners` or a service manager. The
            server owns and closes them.

    Attributes:
        addresses: the addresses in use, with the real port where port 0 was requested.
    """

    def __init__(self, connections: ConnectionManager, listeners: Sequence[socket.socket]) -> None:
        self._connections = connections
        self._listeners = tuple(listeners)
        self.addresses = tuple(address_of(listener) for listener in self._listeners)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._serving = threading.Event()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._drain_seconds = 0.0

    @property
    def running(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; return when it accepts requests.

        Raises:
            WebServerError: the event loop cannot serve the listeners.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        self._thread.start()
        self._serving.wait()
        if self._failure is not None:
            self._thread.join()
            raise WebServerError(f"cannot serve HTTP: {self._failure}") from self._failure

    def close(self, timeout_seconds: float) -> None:
        """Stop accepting, give the requests in flight this long to finish, and abort the others.

        Return when the thread has ended, at most a second after the timeout. May be called more than
        once, and without `start`.
        """
        if self._thread.ident is None:
            for listener in self._listeners:
                listener.close()
            return
        if self._loop is not None and self._thread.is_alive():
            self._drain_seconds = timeout_seconds
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:  # the loop has just closed: nothing is left to stop
                return
        self._thread.join(timeout_seconds + 1.0)
        if self._thread.is_alive():
            log.warning("web server did not stop in time", timeout_seconds=timeout_seconds)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # nothing else would log it
            if self._serving.is_set():
                log.exception("web server stopped unexpectedly")
            else:
                self._failure = error
        finally:
            for listener in self._listeners:
                listener.close()
            self._serving.set()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_problem)
        await self._connections.start()
        for listener in self._listeners:
            listener.listen(BACKLOG)  # fails for a datagram socket, for example
        async with asyncio.TaskGroup() as accepting:
            tasks = [
                accepting.create_task(self._connections.accept(listener))
                for listener in self._listeners
            ]
            self._serving.set()
            await self._stop.wait()
            for task in tasks:
                task.cancel()
        for listener in self._listeners:
            listener.close()
        await self._connections.drain(self._drain_seconds)


def _log_loop_problem(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    problem = context.get("exception")
    if isinstance(problem, ConnectionError | ssl.SSLError):  # the client's failure, not ours
        log.debug("connection failed", detail=context["message"], error=type(problem).__name__)
    else:
        log.error("web server error", detail=context["message"], exc_info=problem)
