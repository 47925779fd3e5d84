"""TLS of the web server: the names of client certificates, and the response to a failed handshake."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeAlias, cast

CLIENT_SOCKET: ContextVar[socket.socket] = ContextVar("CLIENT_SOCKET")
"""The socket of the connection that the current task establishes."""

TLSSource: TypeAlias = Callable[[], Awaitable[ssl.SSLContext | None]]
"""Returns the TLS context of each new connection, or None for plain HTTP."""

# As a Go server responds.
_NOT_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class ServerContext(ssl.SSLContext):
    """A context that checks the names of client certificates and sends the reason for a failed handshake.

    asyncio closes the connection of a failed handshake without sending OpenSSL's alert: a client
    without its certificate would see only a connection reset. The context writes the alert, or a
    plain HTTP response to a plain HTTP request, directly to `CLIENT_SOCKET`.
    """

    allowed_names: frozenset[str] | None = None
    """A client certificate must have one of these subject alternative names; None: any certificate will do."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as in the base class
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Create the TLS state of a connection, as the base class does."""
        self.sslobject_class = _ServerObject
        tls = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(tls, _ServerObject)  # noqa: S101 - narrows the type for mypy
        tls.allowed_names = self.allowed_names
        tls.outgoing, tls.client = outgoing, CLIENT_SOCKET.get(None)
        return tls


class _ServerObject(ssl.SSLObject):
    allowed_names: frozenset[str] | None
    outgoing: ssl.MemoryBIO
    client: socket.socket | None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if self.client is not None:
                is_http = error.reason in {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"}
                with suppress(OSError):
                    self.client.send(_NOT_TLS if is_http else self.outgoing.read())
            raise
        names = subject_names(self.getpeercert() or {})
        if self.allowed_names is not None and self.allowed_names.isdisjoint(names):
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "client certificate has no allowed name")


def subject_names(certificate: Mapping[str, object]) -> Iterator[str]:
    """Yield the DNS names, mail and IP addresses and URIs of a `getpeercert` result, written as in Go."""
    entries = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    for kind, name in entries:
        if kind in {"DNS", "email", "URI"}:
            yield name
        elif kind == "IP Address":
            try:
                yield str(ipaddress.ip_address(name.strip()))
            except ValueError:  # neither four bytes nor sixteen
                continue
