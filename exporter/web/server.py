"""The web server: aiohttp in a thread and an event loop of its own, with limits and a drain."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from aiohttp import web

from exporter.web.listeners import BACKLOG, Address, WebServerError, address_of, bind_listeners

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

__all__ = ["Address", "WebServer", "WebServerError", "bind_listeners"]

log = structlog.get_logger()

# Not 5 or 10 s, the usual scrape intervals: closing must not race with the next scrape.
IDLE_TIMEOUT_SECONDS = 8.0
# Keeps descriptors for the pollers' own connections under the usual limit of 1024.
MAX_CONNECTIONS = 512
# Bodies of requests mean nothing here; this long one is read away, so that the answer arrives.
_LINGERING_SECONDS = 2.0
_LONGEST_LINE_BYTES = 8190
_MOST_HEADERS = 64
_TLS_SHUTDOWN_SECONDS = 2.0


class WebServer:
    """Serves a handler on listening sockets from a thread of its own.

    Args:
        handler: answers a request; what it raises, connection errors excepted, is a bug that
            `refuse` answers.
        refuse: makes the answer to a request that never reaches the handler, by HTTP status: one
            that cannot be read (400).
        listeners: bound and listening sockets, from `bind_listeners` or a service manager. The
            server owns and closes them.
        ssl_context: TLS for all listeners; None: plain HTTP.
        idle_timeout_seconds: how long a client may take for a TLS handshake, then for a request,
            counted from the connection or from the end of the last answer.
        max_connections: connections at one time; more are closed at once.
    """

    def __init__(
        self,
        handler: Handler,
        listeners: Sequence[socket.socket],
        *,
        refuse: Callable[[int], web.Response],
        ssl_context: ssl.SSLContext | None = None,
        idle_timeout_seconds: float = IDLE_TIMEOUT_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._handler = handler
        self._listeners = tuple(listeners)
        self._refuse = refuse
        self._ssl_context = ssl_context
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
            self._failure = error
        finally:
            for listener in self._listeners:
                listener.close()
            self._serving.set()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_problem)
        connections = _Connections(
            self._handler,
            refuse=self._refuse,
            most=self._max_connections,
            idle_timeout_seconds=self._idle_timeout_seconds,
        )
        tls: dict[str, Any] = {}  # the loop refuses these two arguments without a context
        if self._ssl_context is not None:
            tls = {
                "ssl": self._ssl_context,
                "ssl_handshake_timeout": self._idle_timeout_seconds,
                "ssl_shutdown_timeout": min(_TLS_SHUTDOWN_SECONDS, self._idle_timeout_seconds),
            }
        servers = [
            await loop.create_server(connections, sock=listener, backlog=BACKLOG, **tls)
            for listener in self._listeners
        ]
        self._serving.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        await connections.drain(self._drain_seconds)


class _Connections(web.Server):
    """Makes a connection object per client, knows the open ones and ends them at shutdown."""

    def __init__(
        self,
        handler: Handler,
        *,
        refuse: Callable[[int], web.Response],
        most: int,
        idle_timeout_seconds: float,
    ) -> None:
        super().__init__(handler)
        self.refuse = refuse
        self.most = most
        self.transports: set[asyncio.Transport] = set()
        self.all_closed = asyncio.Event()
        self._idle_timeout_seconds = idle_timeout_seconds

    def __call__(self) -> _Connection:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            # aiohttp's one timer for silent, half-sent and idle: it runs until a whole request is
            # there, however the bytes trickle in.
            keepalive_timeout=self._idle_timeout_seconds,
            lingering_time=min(_LINGERING_SECONDS, self._idle_timeout_seconds),
            max_line_size=_LONGEST_LINE_BYTES,
            max_field_size=_LONGEST_LINE_BYTES,
            max_headers=_MOST_HEADERS,
            auto_decompress=False,
            access_log=None,
        )

    async def drain(self, timeout_seconds: float) -> None:
        """Close idle connections, wait for the busy ones, then cut off what is left."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.sleep(0)  # requests that have arrived get their handlers started
                self.pre_shutdown()
                await self.shutdown(timeout_seconds)
                await self._until_all_closed()
        except TimeoutError:
            if self.transports:
                log.warning("requests cut off at shutdown", connections=len(self.transports))
        for transport in tuple(self.transports):
            transport.abort()
        await self._until_all_closed()

    async def _until_all_closed(self) -> None:
        if self.transports:
            self.all_closed.clear()
            await self.all_closed.wait()


class _Connection(web.RequestHandler):
    """One client's connection: counted, and never telling more than it must."""

    __slots__ = ("_connections", "_own_transport")

    def __init__(self, connections: _Connections, **options: Any) -> None:
        super().__init__(connections, **options)
        self._connections = connections
        self._own_transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells mypy; listeners are TCP
        super().connection_made(transport)
        self._own_transport = transport
        if len(self._connections.transports) >= self._connections.most:
            log.debug("too many connections, closed a new one", most=self._connections.most)
            transport.abort()
        self._connections.transports.add(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._own_transport is not None:
            self._connections.transports.discard(self._own_transport)
        if not self._connections.transports:
            self._connections.all_closed.set()

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
        response = self._connections.refuse(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **_options: Any) -> None:
        """Log an error inside aiohttp as an event of ours, not through the root logger."""
        detail = str(args[0]) if args else ""
        log.error("web server error", detail=detail, exc_info=sys.exc_info()[1])


def _log_loop_problem(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    problem = context.get("exception")
    if isinstance(problem, ConnectionError | ssl.SSLError):  # a client's trouble, not ours
        log.debug("connection failed", detail=context["message"], error=type(problem).__name__)
    else:
        log.error("web server error", detail=context["message"], exc_info=problem)
