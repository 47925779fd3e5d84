"""The certificates of a simulated server: a valid one and, for faults, invalid ones."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

_LOCAL = ("127.0.0.1", "localhost", "::1")


class Certificates:
    """Generates an authority and certificates, or serves a given certificate.

    Args:
        hosts: names and addresses of the server in addition to 127.0.0.1, localhost and ::1.
        cert_file: PEM chain to serve instead of a generated one.
        key_file: private key of the chain.

    Attributes:
        ca_pem: the certificates that clients must trust: the authority, or the given chain.

    Raises:
        OSError: a file cannot be read, or is not a certificate or key (ssl.SSLError).
    """

    def __init__(
        self,
        hosts: tuple[str, ...] = (),
        *,
        cert_file: Path | None = None,
        key_file: Path | None = None,
    ) -> None:
        self._hosts = (*_LOCAL, *(host for host in hosts if host not in _LOCAL))
        self._authority = trustme.CA()
        self._files = (cert_file, key_file)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.ca_pem = (
            self._authority.cert_pem.bytes() if cert_file is None else cert_file.read_bytes()
        )
        self.context()

    def context(self, fault: str = "") -> ssl.SSLContext:
        """Return the TLS context of the server, valid or with the named fault."""
        if fault not in self._contexts:
            self._contexts[fault] = self._create(fault)
        return self._contexts[fault]

    def _create(self, fault: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        cert_file, key_file = self._files
        if cert_file is not None and not fault:
            context.load_cert_chain(cert_file, key_file)
            return context
        issue: dict[str, Callable[[], trustme.LeafCert]] = {
            "": lambda: self._authority.issue_cert(*self._hosts),
            "tls_expired": self._expired,
            "tls_wrong_host": lambda: self._authority.issue_cert("another-host.invalid"),
            "tls_unknown_ca": lambda: trustme.CA().issue_cert(*self._hosts),
        }
        issue[fault]().configure_cert(context)
        return context

    def _expired(self) -> trustme.LeafCert:
        now = datetime.now(UTC)
        return self._authority.issue_cert(
            *self._hosts, not_before=now - timedelta(days=30), not_after=now - timedelta(days=1)
        )
