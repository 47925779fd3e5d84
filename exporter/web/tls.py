"""TLS on the server's side: which client certificates are accepted, and what a client learns of a failed handshake."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeAlias, cast

__all__ = ["HANDSHAKING", "ServerContext", "TLSSource", "subject_names"]

HANDSHAKING: ContextVar[socket.socket] = ContextVar("HANDSHAKING")
"""The client socket of the task that opens a connection."""

TLSSource: TypeAlias = Callable[[], Awaitable[ssl.SSLContext | None]]
"""Returns the TLS context of each new connection, or None for plain HTTP."""

PeerCertificate: TypeAlias = Mapping[str, object]
"""A verified certificate as `ssl.SSLSocket.getpeercert` returns it."""

# Go's response.
_NOT_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class ServerContext(ssl.SSLContext):
    """A context that checks the names of client certificates and sends the reason of a failed handshake.

    asyncio closes the connection of a failed handshake without sending OpenSSL's alert: a client
    without its certificate would see only a connection reset. The alert, or a plain HTTP response
    to a plain HTTP request, goes directly to the socket of `HANDSHAKING`.
    """

    allowed_names: frozenset[str] | None = None
    """Subject alternative names, one of which a client certificate must have; None: any certificate."""

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
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _ServerObject)  # noqa: S101 - narrows the type for mypy
        made.allowed_names = self.allowed_names
        made.outgoing, made.client = outgoing, HANDSHAKING.get(None)
        return made


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


def subject_names(certificate: PeerCertificate) -> Iterator[str]:
    """Yield DNS names, mail and IP addresses and URIs, written as Go does."""
    entries = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    for kind, name in entries:
        if kind in {"DNS", "email", "URI"}:
            yield name
        elif kind == "IP Address":
            try:
                yield str(ipaddress.ip_address(name.strip()))
            except ValueError:  # neither four bytes nor sixteen
                continue
