"""The HTTP protocol of one connection: one request head at a time, no request bodies, within fixed bounds."""

from __future__ import annotations

import asyncio
import re
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from contextlib import suppress

import structlog
from aiohttp import web

log = structlog.get_logger()

# No page uses a request body. It is never parsed: a client could keep the parser busy for seconds with chunks of one
# byte. It is read and dropped for a while, because closing a connection with unread data would reset it before the
# client has read the response.
_LINGERING_SECONDS = 2.0
_MAX_DROPPED_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 8190
_MAX_HEADERS = 64
_MAX_HEAD_BYTES = 32 * 1024
# Buffers for a client that does not read (kernel, asyncio), and for one that sends without waiting.
_SEND_BUFFER_BYTES = 256 * 1024
_WRITE_BUFFER_BYTES = 64 * 1024
_READ_BYTES = 16 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_NOT_HTTP = b"\0"
# For bytes that cannot be a request: enough for the parser to reject them. Its error repeats all it received, so it
# receives little.
_METHOD = re.compile(rb"[A-Z-]+ ")
_METHOD_BYTES = 24

# asyncio allocates a read buffer of this size for each TLS connection: by default, 512 of them take 128 MiB.
SSLProtocol.max_size = _READ_BYTES


class Connection(web.RequestHandler):
    """The connection of one client.

    The next request is parsed when the response to the previous one has been written, so that a connection holds at
    most one request, and one read of what follows it.

    Args:
        server: handles the requests.
        client: the accepted socket.
        idle_seconds: how long the client may take for each request.
        send_seconds: how long it may take to read what is buffered, and again for the rest when the connection closes;
            asyncio's TLS shutdown timeout may be shorter.
        error_response: returns the response to a request that the app did not answer.
        on_closed: called when the connection is lost.
    """

    def __init__(
        self,
        server: web.Server,
        client: socket.socket,
        *,
        idle_seconds: float,
        send_seconds: float,
        error_response: Callable[[int], web.Response],
        on_closed: Callable[[Connection], None],
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            # aiohttp's only timer for clients that are silent, idle or slow to send: it runs until a
            # whole request has arrived, and single bytes do not restart it.
            keepalive_timeout=idle_seconds,
            lingering_time=min(_LINGERING_SECONDS, idle_seconds),
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # as documented for runners: no log
        )
        with suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._client = client
        self._send_seconds = send_seconds
        self._error_response = error_response
        self._on_closed = on_closed
        # aiohttp's `transport` is None as soon as the connection closes.
        self._transport_until_lost: asyncio.Transport | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._head_tail = b""
        self._answering = False
        self._pipelined = b""
        self._dropping = False  # after the last request
        self._dropped_bytes = 0

    @property
    def established(self) -> bool:
        """Whether the connection is past its TLS handshake, if it has one, and not lost."""
        return self._transport_until_lost is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the protocol, with small buffers."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type for mypy
        self._transport_until_lost = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        # Both are undocumented; plain transports have the first, TLS transports the second.
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]
        if hasattr(transport, "set_read_buffer_limits"):
            transport.set_read_buffer_limits(_READ_BYTES)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass the next head to the parser; hold back what follows it, or drop it if it is a body."""
        if self._dropping:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _MAX_DROPPED_BYTES:
                self._pause_reading()
        elif self._answering:
            self._pipelined += data
            self._pause_reading()
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._head_bytes == 0:
            # Empty lines before a request line are ignored (RFC 9112, 2.2).
            data = data.lstrip(b"\r\n")
            if not _METHOD.match(data, 0, _METHOD_BYTES):
                data = data[:_METHOD_BYTES]
        found = (self._head_tail + data).find(_END_OF_HEAD)
        end = len(data) if found < 0 else found + len(_END_OF_HEAD) - len(self._head_tail)
        head, following = data[:end], data[end:]
        self._head_bytes += len(head)
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._answering = True
            super().data_received(_NOT_HTTP)  # the parser makes it a bad request
            return
        self._head_tail = (self._head_tail + head)[-len(_END_OF_HEAD) + 1 :]
        if head:
            super().data_received(head)
        # The parser may reject a head before its end.
        self._answering = found >= 0 or bool(self._messages)
        if following:
            self._pipelined = following
            self._pause_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the response, then continue with the next request unless this was the last."""
        finished = await super().finish_response(request, resp, start_time)
        following, self._pipelined = self._pipelined, b""
        self._answering, self._head_bytes, self._head_tail = False, 0, b""
        response, _ = finished
        self._dropping = request.body_exists or not response.keep_alive
        if self._transport_until_lost is not None and not self._transport_until_lost.is_closing():
            self._transport_until_lost.resume_reading()
            if following:
                self.data_received(following)
        return finished

    def _pause_reading(self) -> None:
        if self._transport_until_lost is not None:
            self._transport_until_lost.pause_reading()

    async def start(self) -> None:
        """Handle requests until the connection closes, then start the timer: asyncio would wait forever to send the rest."""
        try:
            await super().start()
        finally:
            if self._transport_until_lost is not None:
                self._start_send_timer()

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        super().pause_writing()
        self._start_send_timer()

    def resume_writing(self) -> None:
        """Stop the timer: the client has read; start it for the rest if the connection is closing."""
        super().resume_writing()
        self._cancel_send_timer()
        if self._transport_until_lost is not None and self._transport_until_lost.is_closing():
            self._start_send_timer()

    def _start_send_timer(self) -> None:
        self._cancel_send_timer()
        self._send_timer = asyncio.get_running_loop().call_later(
            self._send_seconds, self._abort_slow_client
        )

    def _cancel_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()

    def _abort_slow_client(self) -> None:
        log.debug("client too slow, connection aborted", remote=self.peername)
        self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release what the connection holds."""
        super().connection_lost(exc)
        self._pipelined = b""
        self._transport_until_lost = None
        self._cancel_send_timer()
        self._on_closed(self)

    def abort(self) -> None:
        """Close immediately and drop unsent data."""
        # To asyncio, the client has disconnected. That also ends a TLS handshake, and a TLS transport that was closed twice.
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        if self._transport_until_lost is not None:
            self._transport_until_lost.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Respond to a request that the app did not answer, without naming aiohttp or quoting the request."""
        if isinstance(exc, ConnectionError):  # the client has disconnected
            raise exc
        if status >= 500:
            log.error("request failed", path=request.path, status=status, exc_info=exc)
        else:
            log.debug(
                "request rejected", status=status, remote=request.remote, error=type(exc).__name__
            )
        if exc is not None:
            # Its frames hold what has been received, in a cycle that only the garbage collector would end.
            exc.__traceback__ = exc.__context__ = exc.__cause__ = None
        if request.writer.output_size > 0:
            raise ConnectionResetError("the response has already begun")
        response = self._error_response(status)
        response.force_close()
        return response
