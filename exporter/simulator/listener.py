"""Accepts connections and serves each over TLS as the active connection faults require."""

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
    """A listening socket whose connections `server` serves over TLS, within one event loop.

    Args:
        host: address to listen on; empty means all.
        port: 0 selects a free port, which `port` then holds.
        server: creates a protocol for each connection.
        certificates: certificates to serve.
        faults: connection faults to apply.
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
        self._applied = faults.connection_faults()
        self._socket: _ListeningSocket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._unserved: set[socket.socket] = set()

    async def open(self) -> None:
        """Bind, and listen unless a fault refuses connections.

        Raises:
            OSError: the address is not available.
        """
        self._listen()
        await self.apply_faults()

    async def apply_faults(self, keep: asyncio.BaseProtocol | None = None) -> None:
        """Apply changed connection faults.

        Open connections other than `keep` are dropped on a change, so that their clients are affected, too.
        """
        now = self._faults.connection_faults()
        refused = any(fault.name == "connection_refused" for fault in now)
        if refused:
            await self._stop_listening()
        elif self._socket is None:
            self._listen()
        if now != self._applied:
            self._applied = now
            await self._drop(keep)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        await self._stop_listening()
        await self._drop(None)
        self._server.pre_shutdown()
        await self._server.shutdown(1.0)

    def _listen(self) -> None:
        self._socket = _bound(self._host, self.port) if self.port else _bound_once(self._host)
        self.port = self._socket.getsockname()[1]
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))

    async def _stop_listening(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._socket is not None:
            if self._socket.last_accepted is not None:
                self._socket.last_accepted.close()
            self._socket.close()
            self._socket = None

    async def _drop(self, keep: asyncio.BaseProtocol | None) -> None:
        for task in self._serving:
            task.cancel()
        # A task cancelled before it started never closes its connection.
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
            except ConnectionError:  # closed before it was accepted
                continue
            listening.last_accepted = None
            self._unserved.add(connection)
            task = loop.create_task(self._serve(connection))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: socket.socket) -> None:
        """Do the TLS handshake with the certificate for this connection and hand it to a protocol."""
        hit = self._faults.next_for_connection()
        fault = "" if hit is None else hit.name
        if fault == "tls_handshake_hangs":
            return
        self._unserved.discard(connection)
        if fault == "connection_refused":  # accepted just before the listening socket was closed
            connection.close()
            return
        # Clients that reject the certificate or disconnect end here.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._server,
                connection,
                ssl=self._certificates.context(fault),
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_SECONDS,
            )


class _ListeningSocket(socket.socket):
    """Remembers the connection accepted last, because the task that awaits it may be cancelled at that moment."""

    last_accepted: socket.socket | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept as any socket does."""
        self.last_accepted, address = super().accept()
        return self.last_accepted, address


_ports_used: set[int] = set()


def _bound_once(host: str) -> _ListeningSocket:
    """Bind a free port that this process has not used before: clients remember by address when they logged in last."""
    while True:
        listening = _bound(host, 0)
        port = listening.getsockname()[1]
        if port not in _ports_used:
            _ports_used.add(port)
            return listening
        listening.close()


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
