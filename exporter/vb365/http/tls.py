"""TLS towards a VB365 server: whom to trust, under which name, and as whom to appear."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol, overload

import structlog

from exporter.vb365.errors import one_line
from exporter.vb365.http.deadlines import current_exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config.model import ServerConfig, TLSConfig

__all__ = [
    "GuardedContext",
    "UnusableFileError",
    "not_after",
    "proxy_context",
    "server_context",
    "warn_if_unverified",
]

log = structlog.get_logger()


class UnusableFileError(Exception):
    """A TLS file cannot be used; the text says which and why."""

    def __init__(self, what: str, why: OSError | ValueError) -> None:
        known = why.strerror if isinstance(why, OSError) else str(why)
        super().__init__(one_line(f"{what} cannot be used: {known or type(why).__name__}"))


class GuardedContext(ssl.SSLContext):
    """Does the handshake where the watchdog can cut it: the library's own hides the socket until it is over."""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the same
        do_handshake_on_connect: bool = True,  # noqa: FBT001, FBT002 - the same
        suppress_ragged_eofs: bool = True,  # noqa: FBT001, FBT002 - the same
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Wrap a connected socket as its base class does, under the watchdog's eyes."""
        wrapped = super().wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
            session=session,
        )
        try:
            if (exchange := current_exchange()) is not None:
                exchange.watch_socket(wrapped)
            if do_handshake_on_connect:
                wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def server_context(tls: TLSConfig) -> ssl.SSLContext:
    """The TLS settings for one server, of the `tls_config` in the configuration and nothing else.

    Without `ca_file` the system's own store is trusted (OpenSSL's default paths, on Windows the system store), not
    the bundle that comes with a Python package. With it, only what the file holds: a certificate authority, or the
    server's own certificate, as self-signed ones are.

    Raises:
        UnusableFileError: a file cannot be read, or holds no usable certificate or key.
    """
    context = _strict_context()
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file is not None:
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except (OSError, ValueError) as error:
            raise UnusableFileError(f"ca_file {tls.ca_file}", error) from None
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise UnusableFileError(f"cert_file {tls.cert_file} or its key", error) from None
    return context


def warn_if_unverified(server: ServerConfig) -> None:
    """Say in the log what it means that the server's certificate is not verified, if so."""
    if server.tls_config.insecure_skip_verify:
        log.warning(
            "certificate is not verified, anyone in between can read the password",
            server=server.name,
        )


def proxy_context() -> ssl.SSLContext:
    """The TLS settings for a proxy that is itself spoken to over TLS: verified against the system's store."""
    context = _strict_context()
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _strict_context() -> GuardedContext:
    context = GuardedContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server's own certificate in ca_file is enough to trust it, whoever signed it. Newer Pythons also reject
    # certificates for formal flaws (VERIFY_X509_STRICT), which private authorities' often have: not asked for here.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal, and a service hangs.
    raise ValueError("the key is encrypted")


class PeerCertificate(Protocol):
    """What knows the certificate of the other side: a TLS socket, or what urllib3 has in its place."""

    @overload
    def getpeercert(
        self,
        binary_form: Literal[False] = False,  # noqa: FBT002 - as ssl has it
    ) -> Mapping[str, object] | None: ...
    @overload
    def getpeercert(self, binary_form: Literal[True]) -> bytes | None: ...


def not_after(connection: PeerCertificate) -> datetime | None:
    """When the certificate expires that the server has shown, verified or not; None when that cannot be read."""
    try:
        if details := connection.getpeercert():
            end = ssl.cert_time_to_seconds(str(details["notAfter"]))
            return datetime.fromtimestamp(end, UTC)
        # What was not verified, Python does not take apart.
        from cryptography import x509  # noqa: PLC0415 - large, and seldom needed

        certificate = connection.getpeercert(binary_form=True) or b""
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except (ValueError, OverflowError, OSError, LookupError):  # InvalidVersion is a ValueError, too
        return None
