"""Accepts the web server's connections, evicts some when there are too many, and closes them."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web

from exporter.web.app import Handler, WebApp
from exporter.web.protocol import Connection
from exporter.web.tls import CLIENT_SOCKET, TLSSource

log = structlog.get_logger()

# Not 5 or 10 s, which are usual scrape intervals: closing must not race with the next scrape.
_IDLE_SECONDS = 8.0
_SEND_SECONDS = 10.0
# Leaves file descriptors for the pollers under the usual limit of 1024.
_MAX_CONNECTIONS = 512
# For the client to read the rest and to answer close_notify. Clients that only hold connections often never answer.
_TLS_SHUTDOWN_SECONDS = 2.0
_ACCEPTS_AT_ONCE = 16
_ACCEPT_RETRY_SECONDS = 0.2
_ACCEPT_WARNING_INTERVAL_SECONDS = 60.0
_ABORT_SECONDS = 0.5


class ConnectionManager:
    """Accepts connections, limits their number and closes them at shutdown.

    At the limit, one is evicted: the oldest that has not sent a request, or else the one idle longest, or else the
    one whose request has waited longest for its authorization. So scrapes succeed, however many clients merely hold
    connections open.

    Args:
        app: handles the requests; an app can be served once.
        tls: returns the TLS context of each new connection; None: plain HTTP.
        max_connections: the maximum number of open connections.
        idle_seconds: how long a client may take for a TLS handshake, then for a request, counted from the connection or
            from the end of the last response.
        send_seconds: how long a client may take to read each 112 KiB of a response.
    """

    def __init__(
        self,
        app: WebApp,
        *,
        tls: TLSSource | None = None,
        max_connections: int = _MAX_CONNECTIONS,
        idle_seconds: float = _IDLE_SECONDS,
        send_seconds: float = _SEND_SECONDS,
    ) -> None:
        app.application.middlewares.insert(0, self._track)
        app.application.middlewares.append(self._track_authorized)
        app.application.on_response_prepare.append(_close_after_body)
        self._runner = web.AppRunner(app.application)
        self._error_response = app.error_response
        self._tls = tls
        self._max_connections = max_connections
        self._idle_seconds = idle_seconds
        self._send_seconds = send_seconds
        self._accept_warned_at = -math.inf
        self._opening: set[asyncio.Task[None]] = set()
        self._open: dict[Connection, asyncio.Future[None]] = {}
        # Open connections that may be evicted, oldest first: those that have not sent a request yet, those whose last
        # response has been written (its end may still be in a buffer), and those whose request is not authorized yet.
        self._new: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._unauthorized: dict[Connection, None] = {}

    async def start(self) -> None:
        """Prepare the app to handle requests in this event loop."""
        await self._runner.setup()

    async def accept(self, listener: socket.socket) -> None:
        """Accept the clients of a listener until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)  # noqa: FBT003 - the socket module has no keyword for it
        for number in itertools.count(1):
            try:
                client, _ = await loop.sock_accept(listener)
            except ConnectionError:  # the client has already disconnected
                continue
            except OSError as error:  # most likely out of file descriptors
                self._log_accept_error(error)
                self._evict_one()
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            self._admit(client)
            # During a flood of new connections, pause now and then so that open ones are served, but rarely: the
            # queue of new ones would grow, and a scraper would wait at its end.
            if number % _ACCEPTS_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def drain(self, timeout_seconds: float) -> None:
        """Close idle connections, wait for the active ones, then abort those still open."""
        for connection in self._open:
            if not connection.established:
                connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._runner.cleanup()
                await self._wait_closed()
        if self._open:
            log.warning("requests aborted at shutdown", connections=len(self._open))
        for connection in self._open:
            connection.abort()
        await self._wait_closed(_ABORT_SECONDS)

    async def _wait_closed(self, timeout_seconds: float | None = None) -> None:
        if self._open:
            await asyncio.wait(self._open.values(), timeout=timeout_seconds)

    def _admit(self, client: socket.socket) -> None:
        if len(self._open) >= self._max_connections and not self._evict_one():
            client.close()
            return
        assert self._runner.server is not None  # noqa: S101 - `start` has created it
        connection = Connection(
            self._runner.server,
            client,
            idle_seconds=self._idle_seconds,
            send_seconds=self._send_seconds,
            error_response=self._error_response,
            on_closed=self._forget,
        )
        self._open[connection] = asyncio.get_running_loop().create_future()
        self._new[connection] = None
        opening = asyncio.create_task(self._establish(connection, client))
        self._opening.add(opening)  # asyncio keeps only a weak reference to a task
        opening.add_done_callback(self._opening.discard)

    def _evict_one(self) -> bool:
        """Evict a connection; return False if the app is responding to an authorized request of each."""
        connection = next(itertools.chain(self._new, self._idle, self._unauthorized), None)
        if connection is None:
            return False
        log.debug("connection closed to make room", connections=len(self._open))
        self._forget(connection)
        connection.abort()
        return True

    def _forget(self, connection: Connection) -> None:
        """Forget a connection that is closed or about to be."""
        self._move(connection, None)
        if (closed := self._open.pop(connection, None)) is not None:
            closed.set_result(None)

    def _move(self, connection: Connection, evictable: dict[Connection, None] | None) -> None:
        """Move a connection to the end of these evictable connections, or make it not evictable."""
        for before in (self._new, self._idle, self._unauthorized):
            before.pop(connection, None)
        if evictable is not None and connection in self._open:
            evictable[connection] = None

    async def _establish(self, connection: Connection, client: socket.socket) -> None:
        """Connect an accepted socket to its protocol; return after the TLS handshake."""
        options: dict[str, Any] = {}  # asyncio rejects the timeouts without a context
        loop = asyncio.get_running_loop()
        CLIENT_SOCKET.set(client)
        is_ours = True  # until asyncio owns the socket
        try:
            if self._tls is not None and (context := await self._tls()) is not None:
                options = {
                    "ssl": context,
                    "ssl_handshake_timeout": self._idle_seconds,
                    "ssl_shutdown_timeout": min(_TLS_SHUTDOWN_SECONDS, self._idle_seconds),
                }
            is_ours = False
            await loop.connect_accepted_socket(lambda: connection, client, **options)
        except OSError as error:  # TLS errors are among them
            reason = getattr(error, "reason", None) or error.strerror
            log.debug("connection failed", error=type(error).__name__, reason=reason)
        except Exception:
            log.exception("connection cannot be served")
        finally:
            if is_ours:
                client.close()
            if not connection.established:
                self._forget(connection)

    @web.middleware
    async def _track(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - narrows the type for mypy
        self._move(connection, self._unauthorized)
        try:
            return await handler(request)
        finally:
            self._move(connection, self._idle)

    @web.middleware
    async def _track_authorized(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert isinstance(request.protocol, Connection)  # noqa: S101 - narrows the type for mypy
        self._move(request.protocol, None)
        return await handler(request)

    def _log_accept_error(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._accept_warned_at > _ACCEPT_WARNING_INTERVAL_SECONDS:
            self._accept_warned_at = now
            log.warning("cannot accept connections", error=error.strerror)


async def _close_after_body(request: web.Request, response: web.StreamResponse) -> None:
    """Announce that the connection ends with this response: what follows a body is not parsed."""
    if request.body_exists:
        response.force_close()
        response.headers["Connection"] = "close"
