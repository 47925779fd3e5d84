"""The connections of the web server: accepting them, evicting some when there are too many, and closing them."""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import suppress
from itertools import chain
from typing import Any

import structlog
from aiohttp import web

from exporter.web.app import Handler, WebApp
from exporter.web.tls import CLIENT_SOCKET, TLSSource

log = structlog.get_logger()

# No page uses a request body. It is read and dropped for this long: closing a connection with unread
# data would reset it before the client has read the response.
_LINGERING_SECONDS = 2.0
_MAX_LINE_BYTES = 8190
_MAX_HEADERS = 64
_TLS_SHUTDOWN_SECONDS = 2.0
_ACCEPT_RETRY_SECONDS = 0.2
_ACCEPT_WARNING_INTERVAL_SECONDS = 60.0
_ABORT_SECONDS = 0.5


class ConnectionManager:
    """Accepts connections, limits their number and closes them at shutdown.

    At the limit, one is evicted: the oldest that has not sent a request, or else the one idle
    longest. So scrapes succeed beside any number of clients that merely hold connections open.

    Args:
        app: handles the requests.
        tls: returns the TLS context of each new connection; None: plain HTTP.
        max_connections: the maximum number of open connections.
        idle_timeout_seconds: how long a client may take for a TLS handshake, and for a request.
        send_timeout_seconds: how long a client may take to read what has been written to it.
    """

    def __init__(
        self,
        app: WebApp,
        *,
        tls: TLSSource | None,
        max_connections: int,
        idle_timeout_seconds: float,
        send_timeout_seconds: float,
    ) -> None:
        app.application.middlewares.insert(0, self._track)
        self._runner = web.AppRunner(app.application)
        self.error_response = app.error_response
        self._tls = tls
        self._max_connections = max_connections
        self.idle_timeout_seconds = idle_timeout_seconds
        self.send_timeout_seconds = send_timeout_seconds
        self._accept_warned_at = -math.inf
        self._opening: set[asyncio.Task[None]] = set()
        self._open: dict[_Connection, asyncio.Future[None]] = {}
        # Open connections without a request in progress, oldest first: those that have not sent one
        # yet, and those that have.
        self._new: dict[_Connection, None] = {}
        self._idle: dict[_Connection, None] = {}

    async def start(self) -> None:
        """Prepare the app to handle requests in this event loop."""
        await self._runner.setup()

    async def accept(self, listener: socket.socket) -> None:
        """Accept the clients of a listener until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)  # noqa: FBT003 - the socket module has no keyword for it
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except ConnectionError:  # the client has already disconnected
                continue
            except OSError as error:  # most likely out of file descriptors
                self._log_accept_error(error)
                self._evict_idle()
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            self._admit(client)
            # During a flood of new connections, let the open ones be served in between.
            await asyncio.sleep(0)

    async def drain(self, timeout_seconds: float) -> None:
        """Close idle connections, wait for the active ones, then abort those still open."""
        for connection in self._open:
            connection.abort_handshake()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._runner.cleanup()
                await self._wait_closed(timeout_seconds)
        if self._open:
            log.warning("requests aborted at shutdown", connections=len(self._open))
        for connection in self._open:
            connection.abort()
        await self._wait_closed(_ABORT_SECONDS)

    async def _wait_closed(self, timeout_seconds: float) -> None:
        if self._open:
            await asyncio.wait(self._open.values(), timeout=timeout_seconds)

    def _admit(self, client: socket.socket) -> None:
        if len(self._open) >= self._max_connections and not self._evict_idle():
            client.close()
            return
        assert self._runner.server is not None  # noqa: S101 - `start` has created it
        connection = _Connection(self, self._runner.server, client)
        self._open[connection] = asyncio.get_running_loop().create_future()
        self._new[connection] = None
        opening = asyncio.create_task(self._establish(connection, client))
        self._opening.add(opening)  # asyncio keeps only a weak reference to a task
        opening.add_done_callback(self._opening.discard)

    def _evict_idle(self) -> bool:
        """Evict a connection; return False if all have a request in progress."""
        connection = next(chain(self._new, self._idle), None)
        if connection is None:
            return False
        log.debug("idle connection closed to make room", connections=len(self._open))
        self.untrack(connection)
        connection.abort()
        return True

    def untrack(self, connection: _Connection) -> None:
        """Forget a connection that is closed or about to be."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        if (closed := self._open.pop(connection, None)) is not None:
            closed.set_result(None)

    async def _establish(self, connection: _Connection, client: socket.socket) -> None:
        """Connect an accepted socket to its protocol; return after the TLS handshake."""
        options: dict[str, Any] = {}  # asyncio rejects the timeouts without a context
        loop = asyncio.get_running_loop()
        CLIENT_SOCKET.set(client)
        is_ours = True  # until asyncio owns the socket
        try:
            if self._tls is not None and (context := await self._tls()) is not None:
                options = {
                    "ssl": context,
                    "ssl_handshake_timeout": self.idle_timeout_seconds,
                    "ssl_shutdown_timeout": min(_TLS_SHUTDOWN_SECONDS, self.idle_timeout_seconds),
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
                self.untrack(connection)

    @web.middleware
    async def _track(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101 - narrows the type for mypy
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        try:
            return await handler(request)
        finally:
            if connection in self._open:
                self._idle[connection] = None

    def _log_accept_error(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._accept_warned_at > _ACCEPT_WARNING_INTERVAL_SECONDS:
            self._accept_warned_at = now
            log.warning("cannot accept connections", error=error.strerror)


class _Connection(web.RequestHandler):
    """The connection of one client."""

    __slots__ = ("_client", "_own_transport", "_owner", "_send_timer")

    def __init__(self, owner: ConnectionManager, server: web.Server, client: socket.socket) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            # aiohttp's only timer for clients that are silent, idle or slow to send: it runs until a
            # whole request has arrived, and single bytes do not restart it.
            keepalive_timeout=owner.idle_timeout_seconds,
            lingering_time=min(_LINGERING_SECONDS, owner.idle_timeout_seconds),
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # as documented for runners: no log
        )
        self._owner = owner
        self._client = client
        self._own_transport: asyncio.Transport | None = None  # aiohttp drops its own on closing
        self._send_timer: asyncio.TimerHandle | None = None

    @property
    def established(self) -> bool:
        """Whether the TLS handshake, if any, has succeeded."""
        return self._own_transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type for mypy
        super().connection_made(transport)
        self._own_transport = transport

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer = asyncio.get_running_loop().call_later(
            self._owner.send_timeout_seconds, self._abort_slow_client
        )

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_send_timer()

    def _cancel_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()

    def _abort_slow_client(self) -> None:
        log.debug("client too slow, connection aborted", remote=self.peername)
        self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._cancel_send_timer()
        self._owner.untrack(self)

    def abort_handshake(self) -> None:
        """Abort a TLS handshake: asyncio takes it for a disconnected client."""
        if not self.established:
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        """Close immediately and drop unsent data."""
        if self._own_transport is None:
            self.abort_handshake()
        else:
            self._own_transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Respond to a request that did not reach the app, without naming aiohttp or quoting the request."""
        if isinstance(exc, ConnectionError):  # the client has disconnected
            raise exc
        if status >= 500:
            log.error("request failed", path=request.path, status=status, exc_info=exc)
        else:
            log.debug(
                "request rejected", status=status, remote=request.remote, error=type(exc).__name__
            )
        if request.writer.output_size > 0:
            raise ConnectionResetError("the response has already begun")
        response = self._owner.error_response(status)
        response.force_close()
        return response
