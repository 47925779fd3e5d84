"""Describes a server's certificate to a person who has to decide whether to trust it."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from exporter.text import one_line

_MAX_NAMES = 20
_UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The contents of a certificate. Texts are single printable lines, except the PEM."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """The host names and IP addresses that it is valid for."""
    not_before: datetime | None
    """None if the certificate cannot be parsed."""
    not_after: datetime | None
    sha256: str
    sha1: str
    """The fingerprint that Windows and the VB365 console show as the thumbprint."""
    pem: str


def describe_certificate(der: bytes) -> Certificate:
    """Describe a certificate; if it cannot be parsed, by its fingerprints and PEM alone."""
    subject = issuer = _UNREADABLE
    names: tuple[str, ...] = ()
    not_before = not_after = None
    try:
        parsed = x509.load_der_x509_certificate(der)
        subject, issuer = (
            one_line(name.rfc4514_string()) or "empty" for name in (parsed.subject, parsed.issuer)
        )
        not_before, not_after = parsed.not_valid_before_utc, parsed.not_valid_after_utc
        names = _names(parsed)
    except (ValueError, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        pass  # servers present certificates that only OpenSSL accepts
    return Certificate(
        subject=subject,
        issuer=issuer,
        names=names,
        not_before=not_before,
        not_after=not_after,
        sha256=_colons(hashlib.sha256(der).digest()),
        sha1=_colons(hashlib.sha1(der, usedforsecurity=False).digest()),
        pem=ssl.DER_cert_to_PEM_cert(der),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the alternative names or, if the certificate has none, the common name, which is then matched."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(one_line(str(name.value)) for name in common)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    names = [*extension.value.get_values_for_type(x509.DNSName), *map(str, addresses)]
    return tuple(map(one_line, names[:_MAX_NAMES]))


def _colons(digest: bytes) -> str:
    return digest.hex(":").upper()
