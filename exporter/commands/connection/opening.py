"""The steps that open a connection: name resolution, TCP, proxy and TLS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from exporter.commands.connection import advice
from exporter.commands.connection.finding import Finding, Verdict, failure
from exporter.commands.session_lists import NoObserver
from exporter.config import ServerConfig
from exporter.text import one_line
from exporter.vb365.errors import TlsError, Vb365Error
from exporter.vb365.http.certificate import Certificate, describe_certificate
from exporter.vb365.http.deadlines import ConnectionTrace, Step
from exporter.vb365.http.transport import Request, Transport
from exporter.vb365.paging import BaseUrl
from exporter.vb365.versions import NEWEST_FIRST

__all__ = ["opening_findings"]

_SECONDS_PER_DAY = 86_400


def opening_findings(
    server: ServerConfig,
    trace: ConnectionTrace | None,
    error: Vb365Error | None,
    stop: threading.Event,
) -> Iterator[Finding]:
    """Yield the findings of name, TCP, proxy and TLS, up to the step that failed; a later error is a finding of the API."""
    if trace is None:  # no connection was attempted: a TLS file or the proxy's URL is unusable
        step = "tls" if isinstance(error, TlsError) else "proxy"
        yield Finding(step, Verdict.FAIL, error.message if error else "")
        return
    failed = trace.step if error is not None else None
    whose = f"{trace.host} (the proxy)" if trace.proxy else trace.host
    if failed is Step.RESOLVE:
        yield failure("name", error, advice.PROXY if trace.proxy else advice.NAME)
        return
    resolved = ", ".join(trace.addresses)
    text = f"{whose} is an address" if resolved == trace.host else f"{whose} is {resolved}"
    yield Finding("name", Verdict.OK, text)
    port = trace.proxy.rpartition(":")[2] or str(urlsplit(server.url).port or 443)
    refused = tuple(trace.failures.items())
    if failed is Step.CONNECT:
        what_to_do = advice.PROXY if trace.proxy else advice.tcp(error)
        yield failure("tcp", error, what_to_do, refused if len(refused) > 1 else ())
        return
    yield Finding(
        "tcp",
        Verdict.WARN if refused else Verdict.OK,
        f"connected to {trace.address}, port {port}",
        details=refused,
    )
    if failed in {Step.PROXY_HANDSHAKE, Step.TUNNEL}:
        yield failure("proxy", error, advice.PROXY)
        return
    yield _proxy(server, trace)
    # A server may reject the client's certificate only after the handshake, instead of sending its first response.
    if failed is Step.HANDSHAKE or isinstance(error, TlsError):
        yield _untrusted(server, error, stop)
        return
    yield _tls(server, trace)
    if error is not None:
        yield failure("api", error, advice.before_login(error))


def _proxy(server: ServerConfig, trace: ConnectionTrace) -> Finding:
    if trace.proxy:
        text = f"{trace.proxy} answered CONNECT with 200"
        return Finding("proxy", Verdict.OK, text)
    text = "not used"
    if server.proxy_from_environment:
        text += ", as HTTPS_PROXY and NO_PROXY select none for this server"
    return Finding("proxy", Verdict.NONE, text)


def _tls(server: ServerConfig, trace: ConnectionTrace) -> Finding:
    tls = server.tls_config
    certificate = describe_certificate(trace.certificate)
    details = _certificate_details(certificate)
    if tls.insecure_skip_verify:
        return Finding(
            "tls",
            Verdict.WARN,
            f"{trace.tls_version}; the certificate is not verified",
            details=details,
            advice=advice.UNVERIFIED,
            pem=certificate.pem,
        )
    source = f"ca_file {tls.ca_file}" if tls.ca_file else "the system's trust store"
    return Finding(
        "tls",
        Verdict.OK,
        one_line(f"{trace.tls_version}; the certificate is trusted through {source}"),
        details=details[:3],
    )


def _untrusted(server: ServerConfig, error: Vb365Error | None, stop: threading.Event) -> Finding:
    """Return the failure of a TLS handshake, with the certificate if that is why it failed."""
    if not isinstance(error, TlsError) or not error.verify_code:
        return failure("tls", error, advice.handshake(error))
    certificate = _presented_certificate(server, stop)
    what_to_do = advice.certificate(error.verify_code, certificate, server)
    if certificate is None:
        return failure("tls", error, what_to_do)
    return Finding(
        "tls",
        Verdict.FAIL,
        error.message,
        details=_certificate_details(certificate),
        advice=what_to_do,
        pem=certificate.pem if advice.can_be_pinned(error.verify_code) else "",
    )


def _presented_certificate(server: ServerConfig, stop: threading.Event) -> Certificate | None:
    """Connect again without verification, send no credentials, and return the server's certificate."""
    unverified = server.tls_config.model_copy(update={"insecure_skip_verify": True})
    transport = Transport(
        server.model_copy(update={"tls_config": unverified}), observer=NoObserver(), stop=stop
    )
    target = BaseUrl.of(server.url).target(f"{NEWEST_FIRST[0]}/ServiceInstance")
    try:
        transport.exchange(Request(operation="service_instance", target=target))
    except Vb365Error:
        pass  # only the handshake matters
    finally:
        transport.close()
    trace = transport.newest_connection
    return describe_certificate(trace.certificate) if trace and trace.certificate else None


def _certificate_details(certificate: Certificate) -> tuple[tuple[str, str], ...]:
    """Return subject, issuer and validity, then names and fingerprints."""
    return (
        ("subject", certificate.subject),
        ("issuer", certificate.issuer),
        ("valid", _validity(certificate)),
        ("names", ", ".join(certificate.names) or "none"),
        ("SHA-256", _halved(certificate.sha256)),
        ("SHA-1", f"{_halved(certificate.sha1)} (Windows: thumbprint)"),
    )


def _halved(fingerprint: str) -> str:
    """Return a fingerprint with a space after 16 bytes, where a line can break."""
    return f"{fingerprint[:48]} {fingerprint[48:]}"


def _validity(certificate: Certificate) -> str:
    start, end = certificate.not_before, certificate.not_after
    if start is None or end is None:
        return "unreadable"
    now = datetime.now(UTC)
    days = int(abs((end - now).total_seconds()) // _SECONDS_PER_DAY)
    unit = "day" if days == 1 else "days"
    left = f"{days} {unit} left" if end > now else f"expired {days} {unit} ago"
    if start > now:
        left = "not valid yet"
    return f"{start:%Y-%m-%d} to {end:%Y-%m-%d}, {left}"
