from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from vb365.support import (
    GET,
    Certificates,
    Connection,
    Recorder,
    Server,
    failure,
    http,
    responding_with,
)

from exporter.config.model import TLSConfig
from exporter.config.secrets import SecretUrl
from exporter.vb365.errors import (
    ConnectError,
    Reason,
    RequestTimeoutError,
    TlsError,
)
from exporter.vb365.http.tls import not_after
from exporter.vb365.http.transport import Request, Transport
from support.processes import free_port

Serve = Callable[..., Server]
MakeTransport = Callable[..., Transport]

SHORT = 0.05
"""A timeout in seconds; a whole request takes at most 6 times as much."""


# TLS


def test_a_certificate_of_an_unknown_authority_is_refused(
    serve: Serve, transport: MakeTransport, observer: Recorder
) -> None:
    server = serve(responding_with(http()))
    error = failure(transport(server.url, tls=TLSConfig()))
    assert isinstance(error, TlsError)
    assert "is not trusted: " in str(error)
    assert not error.sent
    assert observer.requests == [("get", "error")]


def test_bundles_from_the_environment_do_not_override_ca_file(
    serve: Serve,
    transport: MakeTransport,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    empty = tmp_path / "other.pem"
    empty.write_bytes(certificates.ca_file.read_bytes()[:0])
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(empty))
    assert transport(serve(responding_with(http())).url).exchange(GET).status == 200


def test_bundles_from_the_environment_add_no_trust_anchors(
    serve: Serve,
    transport: MakeTransport,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(certificates.ca_file))
    client = transport(serve(responding_with(http())).url, tls=TLSConfig(ca_file=other))
    assert isinstance(failure(client), TlsError)


def test_the_systems_store_is_trusted_without_ca_file(
    serve: Serve,
    transport: MakeTransport,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))  # OpenSSL's name for the store
    client = transport(serve(responding_with(http())).url, tls=TLSConfig())
    assert client.exchange(GET).status == 200


def test_a_servers_own_certificate_in_ca_file_is_enough(
    serve: Serve, transport: MakeTransport, tmp_path: Path, certificates: Certificates
) -> None:
    server = serve(responding_with(http()), context=certificates.issue())
    pinned = tmp_path / "server.pem"
    pinned.write_text(ssl.get_server_certificate(("127.0.0.1", server.port)))
    client = transport(server.url, tls=TLSConfig(ca_file=pinned))
    assert client.exchange(GET).status == 200


def test_a_certificate_for_another_name_is_refused(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    server = serve(responding_with(http()), context=certificates.issue("other.example.com"))
    error = failure(transport(server.url))
    assert isinstance(error, TlsError)
    assert "127.0.0.1" in str(error)


def test_server_name_is_both_sent_and_verified(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    context = certificates.issue("vb365.example.com")
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = serve(responding_with(http()), context=context)
    tls = TLSConfig(ca_file=certificates.ca_file, server_name="vb365.example.com")
    assert transport(server.url, tls=tls).exchange(GET).status == 200
    assert names == ["vb365.example.com"]
    wrong = tls.model_copy(update={"server_name": "wrong.example.com"})
    assert isinstance(failure(transport(server.url, tls=wrong)), TlsError)


def test_an_expired_certificate_is_refused(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    expired = datetime(2020, 1, 1, tzinfo=UTC)
    context = certificates.issue(
        "127.0.0.1", not_after=expired, not_before=datetime(2019, 1, 1, tzinfo=UTC)
    )
    error = failure(transport(serve(responding_with(http()), context=context).url))
    assert isinstance(error, TlsError)
    assert "expired" in str(error)


@pytest.mark.parametrize("verify", [True, False])
def test_the_expiry_of_a_certificate_is_known_whether_it_is_verified_or_not(
    serve: Serve,
    transport: MakeTransport,
    certificates: Certificates,
    verify: bool,  # noqa: FBT001 - a parameter
) -> None:
    end = datetime(2036, 5, 4, 3, 2, 1, tzinfo=UTC)
    server = serve(responding_with(http()), context=certificates.issue("127.0.0.1", not_after=end))
    tls = TLSConfig(ca_file=certificates.ca_file, insecure_skip_verify=not verify)
    client = transport(server.url, tls=tls)
    assert client.certificate_not_after is None
    client.exchange(GET)
    assert client.certificate_not_after == end


class FakeConnection:
    """A connection with these certificate details."""

    def __init__(self, details: dict[str, object], certificate: bytes | None) -> None:
        self._details = details
        self._certificate = certificate

    def getpeercert(self, binary_form: bool = False) -> Any:  # noqa: FBT001, FBT002 - ssl's signature
        """Return what a TLS socket would."""
        return self._certificate if binary_form else self._details


@pytest.mark.parametrize(
    "connection",
    [
        FakeConnection({}, None),
        FakeConnection({}, b""),
        FakeConnection({}, b"garbage"),
        FakeConnection({"subject": ()}, b""),
        FakeConnection({"notAfter": "some day"}, b""),
    ],
)
def test_an_unreadable_certificate_has_no_known_expiry(connection: FakeConnection) -> None:
    assert not_after(connection) is None


def test_a_certificate_of_an_unsupported_version_has_no_known_expiry() -> None:
    issued = trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].bytes()
    version_3, version_2 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"
    certificate = ssl.PEM_cert_to_DER_cert(issued.decode()).replace(version_3, version_2, 1)
    assert not_after(FakeConnection({}, certificate)) is None


def test_the_expiry_follows_a_renewal_of_the_certificate(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(http(headers="Connection: close\r\n"))

    soon, later = (datetime(year, 1, 1, tzinfo=UTC) for year in (2040, 2041))
    server = serve(talk, context=certificates.issue("127.0.0.1", not_after=soon))
    client = transport(server.url)
    client.exchange(GET)
    assert client.certificate_not_after == soon
    server.context = certificates.issue("127.0.0.1", not_after=later)
    client.exchange(GET)
    assert client.certificate_not_after == later


def test_an_unverified_server_causes_no_warnings(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    server = serve(responding_with(http()), context=certificates.issue("other.example.com"))
    client = transport(server.url, tls=TLSConfig(insecure_skip_verify=True))
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        assert client.exchange(GET).status == 200
    assert not issued


def test_a_server_that_requires_a_client_certificate_gets_it(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    server = serve(responding_with(http()), context=certificates.issue(client_authority=True))
    cert_file, key_file = certificates.issue_client()
    tls = TLSConfig(ca_file=certificates.ca_file, cert_file=cert_file, key_file=key_file)
    assert transport(server.url, tls=tls).exchange(GET).status == 200
    error = failure(transport(server.url))
    assert error.reason in {Reason.TLS, Reason.CONNECT}


def test_a_server_with_only_old_tls_is_refused(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    context = certificates.issue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert isinstance(
        failure(transport(serve(responding_with(http()), context=context).url)), TlsError
    )


def test_a_server_without_tls_is_a_tls_error(serve: Serve, transport: MakeTransport) -> None:
    def talk(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.send(http(status="400 Bad Request"))

    assert isinstance(failure(transport(serve(talk, context=None).url)), TlsError)


def test_tls_files_that_cannot_be_used_are_tls_errors_that_name_them(
    transport: MakeTransport, certificates: Certificates, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    cert_file, key_file = certificates.issue_client()
    locked = tmp_path / "locked.key"
    locked.write_text(ENCRYPTED_KEY)
    configurations = {
        "missing.pem cannot be used: No such file": TLSConfig(ca_file=tmp_path / "missing.pem"),
        "garbage.pem cannot be used": TLSConfig(ca_file=garbage),
        "or its key cannot be used: the key is encrypted": TLSConfig(
            cert_file=cert_file, key_file=locked
        ),
        "client.pem or its key": TLSConfig(cert_file=cert_file, key_file=garbage),
        "client.key or its key": TLSConfig(cert_file=key_file, key_file=key_file),
    }
    for text, tls in configurations.items():
        error = failure(transport("https://127.0.0.1:1", tls=tls))
        assert isinstance(error, TlsError)
        assert text in str(error)


def test_after_a_tls_error_the_files_are_read_again(
    serve: Serve, transport: MakeTransport, certificates: Certificates, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    client = transport(serve(responding_with(http())).url, tls=TLSConfig(ca_file=ca_file))
    assert isinstance(failure(client), TlsError)
    ca_file.write_bytes(certificates.ca_file.read_bytes())
    assert client.exchange(GET).status == 200


# Proxies


class Proxy:
    """An HTTP proxy that connects to one server, whatever the request names."""

    def __init__(self, target_port: int, *, refuse: bytes = b"") -> None:
        self.requested: list[tuple[str, str, dict[str, str]]] = []
        self._target_port = target_port
        self._refuse = refuse

    def __call__(self, connection: Connection) -> None:
        """Serve one connection."""
        request = connection.request()
        assert request is not None
        self.requested.append((request.method, request.target, dict(request.headers)))
        if self._refuse:
            connection.send(self._refuse)
            return
        with socket.create_connection(("127.0.0.1", self._target_port)) as upstream:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(upstream, connection.sock))
            back.start()
            pump(connection.sock, upstream)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.mark.usefixtures("quiet_environment")
def test_a_configured_proxy_receives_connect_with_its_own_credentials_only(
    serve: Serve, transport: MakeTransport
) -> None:
    server = serve(responding_with(http()))
    proxy = Proxy(server.port)
    front = serve(proxy, context=None)
    url = SecretUrl(f"http://user:pass%40word@127.0.0.1:{front.port}")
    client = transport(server.url, proxy_url=url)
    request = Request(operation="get", target="/x", bearer="secret")
    assert client.exchange(request).status == 200
    ((method, target, headers),) = proxy.requested
    assert (method, target) == ("CONNECT", server.url.removeprefix("https://"))
    assert headers["proxy-authorization"] == "Basic dXNlcjpwYXNzQHdvcmQ="
    assert "authorization" not in headers
    assert server.connections == 1
    assert client.certificate_not_after is not None


@pytest.mark.usefixtures("quiet_environment")
def test_a_refusing_proxy_is_a_connect_error_without_its_text_or_credentials(
    serve: Serve, transport: MakeTransport
) -> None:
    proxy = Proxy(1, refuse=b"HTTP/1.1 407 hunter2 wanted\r\nContent-Length: 0\r\n\r\n")
    front = serve(proxy, context=None)
    url = SecretUrl(f"http://user:hunter2@127.0.0.1:{front.port}")
    error = failure(transport("https://hq.example.com:4443", proxy_url=url))
    assert isinstance(error, ConnectError)
    assert str(error) == (
        f"get: the proxy 127.0.0.1:{front.port} requires another user name or password (HTTP 407)"
    )
    assert not error.sent


@pytest.mark.usefixtures("quiet_environment")
def test_a_proxy_that_is_down_is_not_reported_as_the_server(transport: MakeTransport) -> None:
    proxy = f"127.0.0.1:{free_port()}"
    url = SecretUrl(f"http://user:hunter2@{proxy}")
    error = failure(transport("https://hq.example.com:4443", proxy_url=url))
    assert isinstance(error, ConnectError)
    assert error.message == f"the connection to the proxy {proxy} failed: Connection refused"


@pytest.mark.usefixtures("quiet_environment")
def test_a_proxy_that_is_unknown_is_not_reported_as_the_server(
    transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_args: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    url = SecretUrl("http://user:hunter2@no.example.com:3128")
    error = failure(transport("https://hq.example.com:4443", proxy_url=url))
    assert isinstance(error, ConnectError)
    assert error.message == (
        "the host name of the proxy no.example.com:3128 cannot be resolved: Name or service not known"
    )


@pytest.mark.usefixtures("quiet_environment")
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the response is not HTTP"),
        (b"", "the connection was closed"),
        (
            b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 1000 + b"\r\n") * 40 + b"\r\n",
            "the head of the response is larger than 32768 bytes",
        ),
        (
            b"HTTP/1.1 200 " + b"x" * 32768 + b"\r\n\r\n",
            "the head of the response is larger than 32768 bytes",
        ),
    ],
)
def test_a_proxy_that_does_not_speak_http_is_not_reported_as_the_server(
    serve: Serve, transport: MakeTransport, reply: bytes, problem: str
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(reply)

    front = serve(talk, context=None)
    proxy = f"127.0.0.1:{front.port}"
    error = failure(
        transport("https://hq.example.com:4443", proxy_url=SecretUrl(f"http://{proxy}"))
    )
    assert isinstance(error, ConnectError)
    assert error.message == (
        f"the connection through the proxy {proxy} to hq.example.com:4443 failed: {problem}"
    )
    assert not error.sent


def test_a_port_for_plain_http_is_named_so(serve: Serve, transport: MakeTransport) -> None:
    def talk(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.send(http(status="400 Bad Request"))

    server = serve(talk, context=None)
    error = failure(transport(server.url))
    assert isinstance(error, TlsError)
    assert error.message == (
        f"127.0.0.1:{server.port} does not speak TLS; is it a port for plain HTTP?"
    )


def test_a_connection_closed_during_the_handshake_is_named_so(
    serve: Serve, transport: MakeTransport
) -> None:
    def talk(connection: Connection) -> None:
        connection.sock.recv(65536)

    server = serve(talk, context=None)
    error = failure(transport(server.url))
    assert isinstance(error, ConnectError)
    assert error.message == (
        f"the TLS handshake with 127.0.0.1:{server.port} failed: the connection was closed"
    )


@pytest.mark.usefixtures("quiet_environment")
def test_a_proxy_that_responds_byte_by_byte_is_timed_out(
    serve: Serve, transport: MakeTransport
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.drip(b"HTTP/1.1 200 " + b"x" * 10_000, every_seconds=0.02)

    front = serve(talk, context=None)
    client = transport(
        "https://hq.example.com:4443",
        proxy_url=SecretUrl(f"http://127.0.0.1:{front.port}"),
        timeout=SHORT,
    )
    assert isinstance(failure(client), RequestTimeoutError)


@pytest.mark.usefixtures("quiet_environment")
def test_an_https_proxy_is_verified_too(
    serve: Serve,
    transport: MakeTransport,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(responding_with(http()))
    front = serve(Proxy(server.port))
    url = SecretUrl(f"https://127.0.0.1:{front.port}")
    assert isinstance(failure(transport(server.url, proxy_url=url)), TlsError)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    client = transport(server.url, proxy_url=url)
    assert client.exchange(GET).status == 200
    assert client.certificate_not_after is not None


@pytest.mark.usefixtures("quiet_environment")
def test_a_server_that_is_not_verified_does_not_make_the_proxy_unverified(
    serve: Serve, transport: MakeTransport
) -> None:
    server = serve(responding_with(http()))
    front = serve(Proxy(server.port))
    client = transport(
        server.url,
        proxy_url=SecretUrl(f"https://127.0.0.1:{front.port}"),
        tls=TLSConfig(insecure_skip_verify=True),
    )
    assert isinstance(failure(client), TlsError)
    assert server.connections == 0


@pytest.mark.usefixtures("quiet_environment")
def test_a_proxy_from_the_environment_is_used_only_when_so_configured(
    serve: Serve, transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(responding_with(http()))
    proxy = Proxy(server.port)
    front = serve(proxy, context=None)
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{front.port}")
    assert transport(server.url).exchange(GET).status == 200
    assert not proxy.requested
    assert transport(server.url, proxy_from_environment=True).exchange(GET).status == 200
    assert len(proxy.requested) == 1
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert transport(server.url, proxy_from_environment=True).exchange(GET).status == 200
    assert len(proxy.requested) == 1


@pytest.mark.usefixtures("quiet_environment")
@pytest.mark.parametrize("url", ["socks5://user:hunter2@127.0.0.1:1080", "http://[hunter2"])
def test_an_unusable_proxy_from_the_environment_is_a_connect_error(
    transport: MakeTransport, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    error = failure(transport("https://hq.example.com", proxy_from_environment=True))
    assert isinstance(error, ConnectError)
    assert str(error).endswith("its URL must start with http:// or https://")
    assert "hunter2" not in str(error)


ENCRYPTED_KEY = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBCJnUk2B4i9eDNWtBmP
3ESPAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQgjtmZuKsKnpiVxD/
q/tLMwSBkNp7v3eXmpFVUlqH8zLnBGgQjHlDmSzkXA0ABiHvq0jfx4iEmXzlV6Lk
cBiayn+SB3FjPT03XAdVWtfd69tzLYy6ecXoURvcB5ix95FoHp2xRTRAIGOudsLv
KQOwp8+tzRV4ijWjnyfGxRAfFjrxbpUFHLYFyUWB+P4tFWocCDDtLaKo3FI5kzi7
qPcjtX99+Q==
-----END ENCRYPTED PRIVATE KEY-----
"""
