"""TLS towards the clients of the web server: how it is spoken, and whose certificate lets in."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias, cast

__all__ = ["HANDSHAKING", "AlertingContext", "ServerTLS", "TLSSource"]

HANDSHAKING: ContextVar[socket.socket] = ContextVar("HANDSHAKING")
"""The client of the task in which a connection begins."""

PeerCertificate: TypeAlias = Mapping[str, object]
"""A verified certificate as `ssl.SSLSocket.getpeercert` takes it apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLS:
    """TLS as a connection has it from its beginning to its end.

    `allowed_names` are subject alternative names of which a client's certificate must have one;
    None: any certificate that the context verifies will do.
    """

    context: ssl.SSLContext
    allowed_names: frozenset[str] | None = None

    def admits(self, certificate: PeerCertificate | None) -> bool:
        """Tell whether a client that has shown this certificate may ask anything."""
        if self.allowed_names is None:
            return True
        return any(name in self.allowed_names for name in _names(certificate or {}))


# What Go's server says.
_NOT_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class AlertingContext(ssl.SSLContext):
    """Tells the client of `HANDSHAKING` why its handshake failed: by the TLS alert, or in HTTP.

    asyncio closes the connection without a word: who forgot the client certificate would see no
    more than a connection that is reset.
    """

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as in the base class
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make the TLS of a connection as the base class does."""
        self.sslobject_class = _AlertingObject
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _AlertingObject)  # noqa: S101 - tells mypy
        made.outgoing, made.client = outgoing, HANDSHAKING.get(None)
        return made


class _AlertingObject(ssl.SSLObject):
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


TLSSource: TypeAlias = Callable[[], Awaitable[ServerTLS | None]]
"""Gives each new connection its TLS, or None for plain HTTP."""


def _names(certificate: PeerCertificate) -> Iterator[str]:
    """DNS names, mail and IP addresses and URIs, written as Go does."""
    entries = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    for kind, name in entries:
        if kind in {"DNS", "email", "URI"}:
            yield name
        elif kind == "IP Address":
            try:
                yield str(ipaddress.ip_address(name.strip()))
            except ValueError:  # neither four bytes nor sixteen
                continue
