"""The connections of the web server: how they begin, who gives way when there are too many, how they end."""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from aiohttp import web

from exporter.web.tls import HANDSHAKING

if TYPE_CHECKING:
    from exporter.web.tls import ServerTLS, TLSSource

__all__ = ["ConnectionManager", "Handler"]

log = structlog.get_logger()

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# Bodies of requests mean nothing here; this long one is read away, so that the answer arrives.
_LINGERING_SECONDS = 2.0
_LONGEST_LINE_BYTES = 8190
_MOST_HEADERS = 64
_TLS_SHUTDOWN_SECONDS = 2.0
_ACCEPT_RETRY_SECONDS = 0.2
_REPEAT_TROUBLE_SECONDS = 60.0
_ABORT_SECONDS = 0.5


class ConnectionManager(web.Server):
    """Makes a connection per client, knows the open ones and ends them at shutdown.

    When there are too many, the one gives way that has been connected longest without asking for
    anything, or else the one whose last answer is longest ago. So a scrape gets in beside any number
    of clients that hold connections for nothing.

    Args:
        handler: answers a request.
        error_response: makes the answer to what cannot be read, by HTTP status.
        tls: gives each new connection its TLS; None: plain HTTP.
        most: connections at one time.
        idle_timeout_seconds: how long a client may take for a TLS handshake, and for a request.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        error_response: Callable[[int], web.Response],
        tls: TLSSource | None,
        most: int,
        idle_timeout_seconds: float,
    ) -> None:
        super().__init__(self._answer)
        self.error_response = error_response
        self.idle_timeout_seconds = idle_timeout_seconds
        self._handler = handler
        self._tls = tls
        self._most = most
        self._open: set[_Connection] = set()
        self._all_closed = asyncio.Event()
        self._opening: set[asyncio.Task[None]] = set()
        self._trouble_reported_at = -math.inf
        # Each connection that has a place is in one of these; the first two are in the order of time.
        self._new: dict[_Connection, None] = {}
        self._idle: dict[_Connection, None] = {}
        self._active: set[_Connection] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Take in every client of a listener, until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)  # noqa: FBT003 - the socket module has no keyword for it
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except ConnectionError:  # the client has gone already
                continue
            except OSError as error:  # out of descriptors, most likely
                self._report_trouble(error)
                self._evict_idle()
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            self._admit(client)
            # However many clients come at once, those that are here have their turn in between.
            await asyncio.sleep(0)

    async def drain(self, timeout_seconds: float) -> None:
        """Close idle connections, wait for the busy ones, then cut off what is left."""
        for connection in self._open:
            connection.stop_opening()
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.sleep(0)  # requests that have arrived get their handlers started
                self.pre_shutdown()
                await self.shutdown(timeout_seconds)
                await self._until_all_closed()
        except TimeoutError:
            if self._open:
                log.warning("requests cut off at shutdown", connections=len(self._open))
        for connection in tuple(self._open):
            connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                await self._until_all_closed()

    def forget(self, connection: _Connection) -> None:
        """Note that a connection is closed."""
        self._untrack(connection)
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()

    def _admit(self, client: socket.socket) -> None:
        seated = len(self._new) + len(self._idle) + len(self._active)
        if seated >= self._most and not self._evict_idle():
            client.close()
            return
        connection = _Connection(self, client)
        self._open.add(connection)
        self._new[connection] = None
        opening = asyncio.create_task(self._establish(connection, client))
        self._opening.add(opening)  # the loop itself would let it be collected half-way
        opening.add_done_callback(self._opening.discard)

    def _evict_idle(self) -> bool:
        """Close the connection that can best be spared; False: all of them are being answered."""
        for waiting in (self._new, self._idle):
            for connection in waiting:
                log.debug("too many connections, closed a silent one", most=self._most)
                self._untrack(connection)
                connection.abort()
                return True
        return False

    def _untrack(self, connection: _Connection) -> None:
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        self._active.discard(connection)

    async def _establish(self, connection: _Connection, client: socket.socket) -> None:
        """Make a connection of an accepted socket; the TLS handshake is done when this returns."""
        options: dict[str, Any] = {}  # the loop refuses the time-outs without a context
        loop = asyncio.get_running_loop()
        HANDSHAKING.set(client)
        ours = True  # the socket, until the loop has it
        try:
            if self._tls is not None and (tls := await self._tls()) is not None:
                connection.tls = tls
                options = {
                    "ssl": tls.context,
                    "ssl_handshake_timeout": self.idle_timeout_seconds,
                    "ssl_shutdown_timeout": min(_TLS_SHUTDOWN_SECONDS, self.idle_timeout_seconds),
                }
            ours = False
            await loop.connect_accepted_socket(lambda: connection, client, **options)
        except OSError as error:  # TLS errors are among them
            reason = getattr(error, "reason", None) or error.strerror
            log.debug("connection failed", error=type(error).__name__, reason=reason)
        except Exception:
            log.exception("connection cannot be served")
        finally:
            if ours:
                client.close()
            if not connection.established:
                self.forget(connection)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101 - tells mypy; `_admit` made it
        self._untrack(connection)
        self._active.add(connection)
        try:
            return await self._handler(request)
        finally:
            self._untrack(connection)
            if connection.transport is not None:
                self._idle[connection] = None

    def _report_trouble(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._trouble_reported_at > _REPEAT_TROUBLE_SECONDS:
            self._trouble_reported_at = now
            log.warning("cannot accept connections", error=error.strerror)

    async def _until_all_closed(self) -> None:
        if self._open:
            self._all_closed.clear()
            await self._all_closed.wait()


class _Connection(web.RequestHandler):
    """One client's connection: it has a place, and never tells more than it must."""

    __slots__ = ("_client", "_connections", "_own_transport", "tls")

    def __init__(self, connections: ConnectionManager, client: socket.socket) -> None:
        super().__init__(
            connections,
            loop=asyncio.get_running_loop(),
            # aiohttp's one timer for silent, half-sent and idle: it runs until a whole request is
            # there, however the bytes trickle in.
            keepalive_timeout=connections.idle_timeout_seconds,
            lingering_time=min(_LINGERING_SECONDS, connections.idle_timeout_seconds),
            max_line_size=_LONGEST_LINE_BYTES,
            max_field_size=_LONGEST_LINE_BYTES,
            max_headers=_MOST_HEADERS,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # its own code allows None: no log
        )
        self._connections = connections
        self._client = client
        self._own_transport: asyncio.Transport | None = None
        self.tls: ServerTLS | None = None

    @property
    def established(self) -> bool:
        """Whether it can be asked something, or could once; before, there is the TLS handshake."""
        return self._own_transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells mypy; listeners are TCP
        super().connection_made(transport)
        self._own_transport = transport
        if self.tls is not None and not self.tls.admits(transport.get_extra_info("peercert")):
            log.debug("client certificate has no allowed name", remote=self.peername)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._connections.forget(self)

    def stop_opening(self) -> None:
        """Give up a TLS handshake: for asyncio, the client has gone."""
        if not self.established:
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        """Close at once, without a word."""
        if self._own_transport is None:
            self.stop_opening()
        else:
            self._own_transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes the request, which is not to be echoed
    ) -> web.StreamResponse:
        """Answer what never reached the handler, without aiohttp's version and quotations."""
        if isinstance(exc, ConnectionError):  # nobody is there to be answered
            raise exc
        if status >= 500:
            log.error("request failed", path=request.path, status=status, exc_info=exc)
        else:
            log.debug(
                "request refused", status=status, remote=self.peername, error=type(exc).__name__
            )
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had already begun")
        response = self._connections.error_response(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **_options: Any) -> None:
        """Log an error inside aiohttp as an event of ours, not through the root logger."""
        detail = str(args[0]) if args else ""
        log.error("web server error", detail=detail, exc_info=sys.exc_info()[1])
