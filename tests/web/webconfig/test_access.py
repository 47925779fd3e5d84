"""The web configuration file at work in the web server."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
import trustme
from web.support import FakeBackend, Response, connect, exchange, request

from exporter.web.server import WebServer
from exporter.web.webconfig.access import AccessControl
from exporter.web.webconfig.passwords import Passwords
from exporter.web.webconfig.reloader import WebConfigReloader

ServeFile = Callable[[str], WebServer]


PATHS = ["/metrics", "/", "/-/healthy", "/-/ready", "/-/reload", "/config", "/nothing"]
NO_PASSWORD = bcrypt.hashpw(b"", bcrypt.gensalt(4)).decode()
USERS = (
    f"basic_auth_users: {{alice: {bcrypt.hashpw(b'wonder:land', bcrypt.gensalt(4)).decode()}}}\n"
)


def basic(credentials: str, scheme: str = "Basic") -> tuple[str, str]:
    encoded = base64.b64encode(credentials.encode()).decode()
    return "Authorization", f"{scheme} {encoded}"


ALICE = basic("alice:wonder:land")


@pytest.fixture
def serve_file(serve: Callable[..., WebServer], tmp_path: Path) -> ServeFile:
    """Start a server with a web configuration file of this text."""

    def start(text: str) -> WebServer:
        (tmp_path / "web.yml").write_text(text)
        access = AccessControl(WebConfigReloader(tmp_path / "web.yml"))
        return serve(
            FakeBackend(),
            guard=access.authorize,
            extra_headers=access.headers,
            options={"tls": access.tls},
        )

    return start


def get(server: WebServer, *headers: tuple[str, str], path: str = "/metrics") -> Response:
    return request(server, path, headers=headers)


@pytest.mark.parametrize("path", PATHS)
def test_basic_authentication_covers_every_path(serve_file: ServeFile, path: str) -> None:
    server = serve_file(USERS)
    refused = get(server, path=path)

    assert (refused.status, refused.text) == (401, "401 Unauthorized\n")
    assert refused.headers["WWW-Authenticate"] == "Basic"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    assert get(server, basic("alice:wrong"), path=path).status == 401
    assert get(server, ALICE, path=path).status in {200, 404}


@pytest.mark.parametrize(
    "header",
    [
        basic("alice:wonder:land", "basic"),
        basic("alice:wonder:land", "BASIC"),
        ("authorization", ALICE[1].replace(" ", "  ")),
    ],
)
def test_a_right_password_is_accepted_however_the_scheme_is_written(
    serve_file: ServeFile, header: tuple[str, str]
) -> None:
    assert get(serve_file(USERS), header).status == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YWxpY2U=",  # alice, without a colon
        ALICE[1] + "!",
        ALICE[1].replace("Basic", "Bearer"),
        ALICE[1].removeprefix("Basic "),
        "Basic \xff\xfe",
    ],
)
def test_malformed_credentials_are_rejected(serve_file: ServeFile, value: str) -> None:
    received = exchange(
        serve_file(USERS),
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: "
        + value.encode("latin-1")
        + b"\r\n\r\n",
    )

    assert received.startswith(b"HTTP/1.1 401 Unauthorized\r\n")


def test_an_empty_password_has_a_colon_before_it(serve_file: ServeFile) -> None:
    server = serve_file(f"basic_auth_users: {{bob: {NO_PASSWORD}}}\n")

    assert get(server, basic("bob:")).status == 200
    assert get(server, basic("bob")).status == 401


def test_new_users_count_for_the_next_request(serve_file: ServeFile, tmp_path: Path) -> None:
    server = serve_file(USERS)
    assert get(server, ALICE).status == 200

    (tmp_path / "web.yml").write_text(USERS.replace("alice", "bob"))
    assert get(server, ALICE).status == 401
    assert get(server, basic("bob:wonder:land")).status == 200


def test_while_too_many_passwords_are_checked_a_client_has_to_retry_later(
    serve: Callable[..., WebServer], tmp_path: Path
) -> None:
    (tmp_path / "web.yml").write_text(USERS)
    access = AccessControl(
        WebConfigReloader(tmp_path / "web.yml"), passwords=Passwords(max_pending=0)
    )
    response = get(serve(FakeBackend(), guard=access.authorize), ALICE)

    assert (response.status, response.headers["Retry-After"]) == (503, "5")


def test_headers_of_the_file_are_in_every_response_and_follow_it(
    serve_file: ServeFile, tmp_path: Path
) -> None:
    server = serve_file(
        "http_server_config: {headers: {Strict-Transport-Security: max-age=9, "
        "Content-Security-Policy: mine}}\n"
    )
    for path in PATHS:
        response = get(server, path=path)
        assert response.headers["Strict-Transport-Security"] == "max-age=9"
        assert response.headers["Content-Security-Policy"] == "mine"

    (tmp_path / "web.yml").write_text("")
    assert get(server).status == 200
    assert "Strict-Transport-Security" not in get(server).headers
    assert "default-src 'none'" in get(server).headers["Content-Security-Policy"]


def test_requests_beyond_the_rate_limit_are_rejected_before_their_passwords_are_checked(
    serve_file: ServeFile,
) -> None:
    server = serve_file(f"{USERS}rate_limit: {{interval: 90m, burst: 2}}\n")

    assert [get(server, ALICE).status, get(server).status] == [200, 401]
    refused = get(server, ALICE)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "5400")
    assert get(server, ALICE).status == 429


@pytest.fixture
def mutual_tls(tmp_path: Path) -> tuple[str, trustme.CA]:
    """A file that requires a client certificate, and the authority of both sides."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "server.crt"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    text = (
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, "
        "client_auth_type: RequireAndVerifyClientCert}\n"
    )
    return text, authority


@pytest.mark.parametrize(
    ("version", "alert"),
    [
        (ssl.TLSVersion.TLSv1_2, "HANDSHAKE_FAILURE"),
        (ssl.TLSVersion.TLSv1_3, "CERTIFICATE_REQUIRED"),
    ],
)
def test_a_client_without_certificate_gets_an_alert_that_says_so(
    serve_file: ServeFile, mutual_tls: tuple[str, trustme.CA], version: ssl.TLSVersion, alert: str
) -> None:
    text, authority = mutual_tls
    server = serve_file(text)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.maximum_version = version

    with (
        connect(server) as client,
        pytest.raises(ssl.SSLError, match=alert),
        context.wrap_socket(client, server_hostname="127.0.0.1") as connection,
    ):
        connection.recv(1)


def test_plain_http_to_a_tls_listener_gets_a_response_that_says_so(
    serve_file: ServeFile, mutual_tls: tuple[str, trustme.CA]
) -> None:
    received = exchange(serve_file(mutual_tls[0]), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert received == (
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    )


def test_without_a_file_every_request_is_allowed(serve: Callable[..., WebServer]) -> None:
    config = WebConfigReloader(None)
    access = AccessControl(config)
    server = serve(FakeBackend(), guard=access.authorize, options={"tls": access.tls})

    assert get(server).status == 200
    assert config.current.protections == frozenset()


def test_a_reload_counts_for_the_next_request(
    tmp_path: Path, serve: Callable[..., WebServer]
) -> None:
    (tmp_path / "web.yml").write_text(USERS)
    config = WebConfigReloader(tmp_path / "web.yml")
    access = AccessControl(config)
    server = serve(FakeBackend(), guard=access.authorize)
    (tmp_path / "web.yml").write_text("")

    assert get(server).status == 401
    config.reload()
    assert get(server).status == 200
