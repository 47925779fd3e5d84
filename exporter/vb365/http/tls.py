"""Client-side TLS: trust anchors, the client certificate, and the expiry of the server's certificate."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from exporter.config.model import ServerConfig, TLSConfig
from exporter.text import one_line
from exporter.vb365.http.exceptions import UnusableFileError

log = structlog.get_logger()


def server_context(tls: TLSConfig) -> ssl.SSLContext:
    """Return the TLS context for one server, made from its `tls_config`.

    Without `ca_file`, the system's trust store is used (OpenSSL's default paths; on Windows the system store), not the
    bundle of a Python package. With it, only the certificates in the file are trusted: authorities, or the server's own
    certificate.

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
            raise _unusable(f"ca_file {tls.ca_file}", error) from None
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise _unusable(f"cert_file {tls.cert_file} or its key", error) from None
    return context


def _unusable(file: str, cause: OSError | ValueError) -> UnusableFileError:
    reason = cause.strerror if isinstance(cause, OSError) else str(cause)
    return UnusableFileError(one_line(f"{file} cannot be used: {reason or type(cause).__name__}"))


def warn_if_unverified(server: ServerConfig) -> None:
    """Log a warning if the server's certificate is not verified."""
    if server.tls_config.insecure_skip_verify:
        log.warning(
            "certificate verification is disabled, the password can be intercepted",
            server=server.name,
        )


def proxy_context() -> ssl.SSLContext:
    """Return the TLS context for an https proxy, which is verified against the system's trust store."""
    context = _strict_context()
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _strict_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server whose own certificate is in ca_file is trusted, whatever its issuer. VERIFY_X509_STRICT, a default since
    # Python 3.13, is left out: certificates of private authorities often violate formal rules.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _no_passphrase() -> str:
    # Without a callback OpenSSL prompts on the terminal, where a service would hang.
    raise ValueError("the key is encrypted")


class _PeerCertificate(Protocol):
    """An `ssl.SSLSocket` or urllib3's `SSLTransport`."""

    def getpeercert(self, binary_form: bool = False) -> Any: ...  # noqa: FBT001, FBT002 - the signature in ssl


def not_after(connection: _PeerCertificate) -> datetime | None:
    """Return when the peer's certificate expires, whether it was verified or not; None if it cannot be read."""
    with suppress(ValueError, OverflowError, OSError, LookupError):
        if details := connection.getpeercert():
            end = ssl.cert_time_to_seconds(str(details["notAfter"]))
            return datetime.fromtimestamp(end, UTC)
        # The ssl module does not parse a certificate that it did not verify.
        from cryptography import x509  # noqa: PLC0415 - large, and rarely needed

        certificate = connection.getpeercert(binary_form=True) or b""
        with suppress(x509.InvalidVersion):
            return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    return None
