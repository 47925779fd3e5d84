from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from vb365.support import GET, Certificates, Server, failure, http, responding_with

from exporter.config.model import TLSConfig
from exporter.vb365.errors import TlsError
from exporter.vb365.http.certificate import describe_certificate
from exporter.vb365.http.deadlines import Step
from exporter.vb365.http.transport import Transport

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def certificate_of(subject: str, *extensions: x509.ExtensionType) -> bytes:
    """Return a self-signed certificate with these extensions."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOON)
        .not_valid_after(NOON + timedelta(days=365))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_alternative_names_are_what_a_certificate_is_for() -> None:
    leaf = trustme.CA().issue_cert("vb365.example.com", "192.0.2.1", common_name="VB365")
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    assert describe_certificate(der).names == ("vb365.example.com", "192.0.2.1")


def test_without_alternative_names_the_common_name_counts() -> None:
    certificate = describe_certificate(certificate_of("vb365"))

    assert (certificate.subject, certificate.issuer) == ("CN=vb365", "CN=vb365")
    assert certificate.names == ("vb365",)
    assert (certificate.not_before, certificate.not_after) == (NOON, NOON + timedelta(days=365))


def test_a_name_in_a_certificate_cannot_affect_the_terminal() -> None:
    certificate = describe_certificate(certificate_of("evil\x1b[2J\n"))

    assert certificate.subject.isprintable()
    assert all(name.isprintable() for name in certificate.names)


def test_a_certificate_with_names_of_an_unsupported_kind_is_described_without_them() -> None:
    oid = x509.SubjectAlternativeName.oid
    x400_address = x509.UnrecognizedExtension(oid, bytes.fromhex("3002a300"))

    certificate = describe_certificate(certificate_of("vb365", x400_address))

    assert (certificate.subject, certificate.names) == ("CN=vb365", ())


def test_a_certificate_that_cannot_be_parsed_still_has_fingerprints() -> None:
    certificate = describe_certificate(b"no certificate")

    assert (certificate.subject, certificate.not_after, certificate.names) == (
        "unreadable",
        None,
        (),
    )
    assert re.fullmatch("([0-9A-F]{2}:){31}[0-9A-F]{2}", certificate.sha256)
    assert re.fullmatch("([0-9A-F]{2}:){19}[0-9A-F]{2}", certificate.sha1)
    assert ssl.PEM_cert_to_DER_cert(certificate.pem) == b"no certificate"


# What a connection leaves behind


def test_the_newest_connection_is_known_from_name_to_certificate(
    serve: Callable[..., Server], transport: Callable[..., Transport]
) -> None:
    server = serve(responding_with(http()))
    client = transport(
        server.url.replace("127.0.0.1", "localhost"), tls=TLSConfig(insecure_skip_verify=True)
    )

    client.exchange(GET)

    trace = client.newest_connection
    assert trace is not None
    assert (trace.step, trace.host, trace.proxy) == (Step.REQUEST, "localhost", "")
    assert "127.0.0.1" in trace.addresses
    assert (trace.address, trace.tls_version) == ("127.0.0.1", "TLSv1.3")
    assert describe_certificate(trace.certificate).names == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("trusted", "code"), [(False, 20), (True, 64)], ids=["unknown-issuer", "other-address"]
)
def test_a_certificate_that_is_not_accepted_has_openssls_code(
    serve: Callable[..., Server],
    transport: Callable[..., Transport],
    certificates: Certificates,
    trusted: bool,  # noqa: FBT001 - a parameter of the test
    code: int,
) -> None:
    server = serve(responding_with(http()), context=certificates.issue("192.0.2.1"))
    client = transport(server.url, tls=TLSConfig(ca_file=certificates.ca_file if trusted else None))

    error = failure(client)

    assert isinstance(error, TlsError)
    assert error.verify_code == code
    assert client.newest_connection is not None
    assert client.newest_connection.step is Step.HANDSHAKE
