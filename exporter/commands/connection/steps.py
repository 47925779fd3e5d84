"""The steps from a server's name to its organizations, and what each finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from exporter.commands.connection import advice
from exporter.commands.connection.finding import Finding, Verdict, failure
from exporter.commands.fetching import NoObserver
from exporter.config import ServerConfig
from exporter.polling.full_list import FullList, read_full_list
from exporter.text import format_instant, one_line
from exporter.vb365.base_url import BaseUrl
from exporter.vb365.client import Client
from exporter.vb365.errors import ForbiddenError, NotFoundError, TlsError, Vb365Error
from exporter.vb365.http.certificate import Certificate, describe_certificate
from exporter.vb365.http.deadlines import ConnectionTrace, Step
from exporter.vb365.http.transport import Request, Transport
from exporter.vb365.records.organization import OrganizationRejection
from exporter.vb365.records.restore_session import RestoreSession
from exporter.vb365.versions import NEWEST_FIRST

_MAX_ORGANIZATIONS_NAMED = 10
_ORGANIZATIONS_SECONDS = 60.0
_SECONDS_PER_DAY = 86_400


def check_server(server: ServerConfig, stop: threading.Event) -> Iterator[Finding]:
    """Yield the findings of one server, then log out. The first failure ends the steps that depend on it.

    Failed requests are not retried. After a stop, the findings are meaningless.
    """
    transport = Transport(server, observer=NoObserver(), stop=stop)
    client = Client(server, observer=NoObserver(), stop=stop, transport=transport)
    try:
        try:
            served = client.served_versions()
        except Vb365Error as error:
            yield from _opening(server, transport.newest_connection, error, stop)
            return
        yield from _opening(server, transport.newest_connection, None, stop)
        yield (api := _api(server, served))
        if api.verdict is Verdict.FAIL:
            return
        for finding in _login(server, client):
            yield finding
            if finding.verdict is Verdict.FAIL:
                return
        yield _sessions(client)
        yield _organizations(client)
    finally:
        client.close()


def _opening(
    server: ServerConfig,
    trace: ConnectionTrace | None,
    error: Vb365Error | None,
    stop: threading.Event,
) -> Iterator[Finding]:
    """Yield the findings of name, TCP, proxy and TLS, up to the step that failed; a later error is a finding of the API."""
    if trace is None:  # no connection was attempted: a TLS file or the proxy's URL is unusable
        yield failure("tls" if isinstance(error, TlsError) else "proxy", error)
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
    verdict = Verdict.WARN if refused else Verdict.OK
    yield Finding("tcp", verdict, f"connected to {trace.address}, port {port}", details=refused)
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
        return Finding("proxy", Verdict.OK, f"{trace.proxy} answered CONNECT with 200")
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
    text = one_line(f"{trace.tls_version}; the certificate is trusted through {source}")
    return Finding("tls", Verdict.OK, text, details=details[:3])


def _untrusted(server: ServerConfig, error: Vb365Error | None, stop: threading.Event) -> Finding:
    """Return the failure of a TLS handshake, with the certificate if that is why it failed."""
    if not isinstance(error, TlsError) or not error.verify_code:
        return failure("tls", error, advice.handshake(error))
    certificate = _presented_certificate(server, stop)
    what_to_do = advice.certificate(error.verify_code, certificate, server)
    if certificate is None:
        return failure("tls", error, what_to_do)
    pem = certificate.pem if advice.can_be_pinned(error.verify_code) else ""
    return failure("tls", error, what_to_do, _certificate_details(certificate), pem)


def _presented_certificate(server: ServerConfig, stop: threading.Event) -> Certificate | None:
    """Connect again without verification, send no credentials, and return the server's certificate."""
    unverified = server.tls_config.model_copy(update={"insecure_skip_verify": True})
    transport = Transport(
        server.model_copy(update={"tls_config": unverified}), observer=NoObserver(), stop=stop
    )
    target = BaseUrl(server.url).target(f"{NEWEST_FIRST[0]}/ServiceInstance")
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


def _api(server: ServerConfig, served: tuple[str, ...]) -> Finding:
    missing = [version for version in NEWEST_FIRST if version not in served]
    text = f"present: {', '.join(served) or 'none'}"
    if missing:
        text += f"; absent: {', '.join(missing)}"
    if not served:
        return Finding("api", Verdict.FAIL, text, advice=advice.NO_API)
    if server.api_version == "auto":
        return Finding("api", Verdict.OK, f"{text}; {served[0]} is used")
    if server.api_version in served:
        return Finding("api", Verdict.OK, f"{text}; {server.api_version} is used, as configured")
    text += f"; {server.api_version} is configured"
    what_to_do = f"Set api_version to auto, or to {served[0]}."
    return Finding("api", Verdict.FAIL, text, advice=what_to_do)


def _login(server: ServerConfig, client: Client) -> Iterator[Finding]:
    """Yield the findings of the login and of the product version: reading the version logs in."""
    account = one_line(server.auth.username or "the token")
    accepted = Finding("login", Verdict.OK, f"accepted: {account}")
    try:
        version = client.product_version()
    except Vb365Error as error:
        if error.operation == "token":
            yield failure("login", error, advice.login(error, server))
        else:
            yield accepted
            yield failure("product", error, advice.api(error))
        return
    yield accepted
    text = f"VB365 {one_line(version)}" if version else "the server does not report its version"
    yield Finding("product", Verdict.OK, text)


def _sessions(client: Client) -> Finding:
    newest: list[datetime] = []

    def keep_open(session: RestoreSession) -> RestoreSession | None:
        newest[:] = [max([session.creation_time, *newest])]
        return None if session.stopped else session

    try:
        found = read_full_list(client, lambda: FullList(keep_open))
    except Vb365Error as error:
        return failure("sessions", error, advice.api(error))
    if not newest:
        text = "the account can see no restore session"
        return Finding("sessions", Verdict.WARN, text, advice=advice.NO_SESSIONS)
    text = (
        f"{found.listed} visible, {len(found.sessions)} of them open, the newest from "
        f"{format_instant(newest[0])}"
    )
    if rejected := found.rejected.total():
        text += f"; {rejected} more cannot be read ({', '.join(sorted(found.rejected))})"
    return Finding("sessions", Verdict.WARN if rejected else Verdict.OK, text)


def _organizations(client: Client) -> Finding:
    rejected: list[OrganizationRejection] = []
    try:
        organizations = client.organizations(
            until=time.monotonic() + _ORGANIZATIONS_SECONDS, on_rejected=rejected.append
        )
    except (ForbiddenError, NotFoundError) as error:
        what_to_do = advice.NO_ORGANIZATIONS
        return Finding("organizations", Verdict.WARN, error.message, advice=what_to_do)
    except Vb365Error as error:
        return failure("organizations", error, advice.api(error))
    names = sorted(one_line(one.label) for one in organizations)
    text = f"{len(names)} visible"
    if names:
        text += f": {'; '.join(names[:_MAX_ORGANIZATIONS_NAMED])}"
    if (more := len(names) - _MAX_ORGANIZATIONS_NAMED) > 0:
        text += f"; and {more} more"
    if rejected:
        reasons = sorted({rejection.reason for rejection in rejected})
        text += f"; {len(rejected)} more cannot be read ({', '.join(reasons)})"
    return Finding("organizations", Verdict.WARN if rejected else Verdict.OK, text)
