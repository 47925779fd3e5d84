"""Accepts connections and decides for each of them what TLS it gets, as faults of connections demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from aiohttp import web

from exporter.simulator.certificates import Certificates
from exporter.simulator.faults.registry import Faults

_BACKLOG = 128
_HANDSHAKE_TIMEOUT_SECONDS = 60.0


class Listener:
    """A listening socket whose connections `server` serves over TLS. Lives in one event loop.

    Args:
        host: Where to listen; empty means everywhere.
        port: 0 means a free one; `port` then says which.
        server: Makes a protocol for each connection.
        certificates: What to show.
        faults: Which connections go wrong.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        server: web.Server,
        certificates: Certificates,
        faults: Faults,
    ) -> None:
        self.port = port
        self._host = host
        self._server = server
        self._certificates = certificates
        self._faults = faults
        self._seen = faults.of_connections()
        self._socket: _ListeningSocket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._unserved: set[socket.socket] = set()

    async def open(self) -> None:
        """Bind, and listen unless connections are refused.

        Raises:
            OSError: The address cannot be had.
        """
        self._listen()
        await self.follow_faults()

    async def follow_faults(self, keep: asyncio.BaseProtocol | None = None) -> None:
        """Do what the faults of connections that are set now demand, if they have changed.

        Open connections are dropped then, so that their clients meet the change; `keep` is the one not to drop.
        """
        now = self._faults.of_connections()
        refused = any(fault.name == "connection_refused" for fault in now)
        if refused:
            await self._stop_listening()
        elif self._socket is None:
            self._listen()
        if now != self._seen:
            self._seen = now
            await self._drop(keep)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        await self._stop_listening()
        await self._drop(None)
        self._server.pre_shutdown()
        await self._server.shutdown(1.0)

    def _listen(self) -> None:
        self._socket = _bound(self._host, self.port)
        self.port = self._socket.getsockname()[1]
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))

    async def _stop_listening(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._socket is not None:
            if self._socket.untaken is not None:
                self._socket.untaken.close()
            self._socket.close()
            self._socket = None

    async def _drop(self, keep: asyncio.BaseProtocol | None) -> None:
        for task in self._serving:
            task.cancel()
        # Also those of which the task has not begun: cancelled, it never will.
        for connection in self._unserved:
            connection.close()
        self._unserved.clear()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for protocol in self._server.connections:
            if protocol is not keep and protocol.transport is not None:
                protocol.transport.abort()

    async def _accept(self, listening: _ListeningSocket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except ConnectionError:  # gone before it was accepted
                continue
            listening.untaken = None
            self._unserved.add(connection)
            task = loop.create_task(self._serve(connection))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: socket.socket) -> None:
        """Hand the connection over to a protocol, after a handshake with the certificate it is to see."""
        struck = self._faults.strike_connection()
        fault = "" if struck is None else struck.name
        if fault == "tls_handshake_hangs":
            return
        self._unserved.discard(connection)
        if fault == "connection_refused":  # came in while the listening socket was about to close
            connection.close()
            return
        # Clients that do not trust the certificate, or just leave, end here.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._server,
                connection,
                ssl=self._certificates.context(fault),
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_SECONDS,
            )


class _ListeningSocket(socket.socket):
    """Keeps the connection it accepted last: whoever waits for it may be cancelled at just that moment."""

    untaken: socket.socket | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """As any socket does."""
        self.untaken, address = super().accept()
        return self.untaken, address


def _bound(host: str, port: int) -> _ListeningSocket:
    if host:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    elif socket.has_dualstack_ipv6():
        listening = socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
        )
    else:
        listening = socket.create_server(("", port), backlog=_BACKLOG)
    own = _ListeningSocket(listening.family, listening.type, fileno=listening.detach())
    own.settimeout(0)
    return own
