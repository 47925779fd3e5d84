"""Failed requests leave nothing behind that only a garbage collection would free: it may be minutes away."""

from __future__ import annotations

import gc
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from vb365.support import GET, Certificates, Connection, Server, http

from exporter.config.model import TLSConfig
from exporter.config.secrets import SecretUrl
from exporter.vb365.errors import Vb365Error
from exporter.vb365.http.transport import Transport
from support.processes import free_port

Serve = Callable[..., Server]
MakeTransport = Callable[..., Transport]

_CLIENT_PACKAGES = ("requests.", "urllib3.", "http.client", "exporter.vb365.")
SHORT = 0.05

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
REPLIES = {
    "no response": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "too many headers": OK + b"X: y\r\n" * 1000 + b"\r\n",
    "an oversized head": OK + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
    "too many interim responses": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
    "an impossible status": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "a truncated body": http(b"{}" * 1000)[:-3],
    "an oversized body": http(b"x" * 2_000_000),
    "a broken gzip body": http(b"not gzip", headers="Content-Encoding: gzip\r\n"),
    "a truncated chunk": CHUNKED + b"5\r\nab",
    "a bad chunk": CHUNKED + b"5\r\nabcde\r\nzzzz\r\n",
}


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left_by_failures(client: Transport) -> Counter[str]:
    """Return the types of what two failed requests leave in memory, apart from what the first one loads."""
    fail(client)
    gc.collect()
    before = client_objects()
    fail(client)
    fail(client)
    return client_objects() - before


def fail(client: Transport) -> None:
    # A pytest.raises() would keep the error in a cycle of its own.
    try:
        client.exchange(GET)
    except Vb365Error:
        client.close()
    else:
        pytest.fail("the request did not fail")


def client_objects() -> Counter[str]:
    """Return how many objects there are of each type that only the client makes."""
    types = [type(each) for each in gc.get_objects()]
    return Counter(
        each.__qualname__
        for each in types
        if str(each.__module__).startswith(_CLIENT_PACKAGES)
        or each in {ssl.SSLContext, ssl.SSLCertVerificationError, ConnectionRefusedError}
    )


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_an_unusable_response_is_freed(
    serve: Serve, transport: MakeTransport, reply: bytes
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(reply)

    assert left_by_failures(transport(serve(talk).url)) == {}


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_reset_connection_is_freed(serve: Serve, transport: MakeTransport, where: str) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        if where == "body":
            connection.send(http(b"{}" * 1000)[:-3])
        # Closing then sends RST instead of FIN.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert left_by_failures(transport(serve(talk).url)) == {}


@pytest.mark.parametrize("where", ["handshake", "head", "body", "slow body"])
def test_a_request_that_timed_out_is_freed(
    serve: Serve, transport: MakeTransport, where: str
) -> None:
    def talk(connection: Connection) -> None:
        if where != "handshake":
            connection.request()
        if "body" in where:
            connection.send(http(b"{}" * 1000)[:-1000])
        if where == "slow body":
            connection.drip(b"x" * 1000, every_seconds=SHORT / 5)
        connection.wait()

    options = {"context": None} if where == "handshake" else {}
    assert left_by_failures(transport(serve(talk, **options).url, timeout=SHORT)) == {}


def test_an_untrusted_certificate_is_freed(serve: Serve, transport: MakeTransport) -> None:
    server = serve(lambda connection: connection.wait())
    assert left_by_failures(transport(server.url, tls=TLSConfig())) == {}


def test_a_certificate_for_another_name_is_freed(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    server = serve(
        lambda connection: connection.wait(), context=certificates.issue("other.example.com")
    )
    assert left_by_failures(transport(server.url)) == {}


def test_a_broken_handshake_is_freed(serve: Serve, transport: MakeTransport) -> None:
    server = serve(lambda connection: connection.send(http()), context=None)
    assert left_by_failures(transport(server.url)) == {}


def test_a_refused_connection_is_freed(transport: MakeTransport) -> None:
    assert left_by_failures(transport(f"https://127.0.0.1:{free_port()}")) == {}


def test_a_name_that_does_not_exist_is_freed(transport: MakeTransport) -> None:
    assert left_by_failures(transport(f"https://{'x' * 70}.example.com")) == {}


def test_a_file_that_cannot_be_used_is_freed(
    transport: MakeTransport, certificates: Certificates
) -> None:
    tls = TLSConfig(ca_file=certificates.folder / "missing.pem")
    assert left_by_failures(transport("https://127.0.0.1:1", tls=tls)) == {}


@pytest.mark.parametrize("reply", [b"HTTP/1.1 407 X\r\n\r\n", b"not HTTP\r\n\r\n", b""])
def test_a_refused_tunnel_is_freed(serve: Serve, transport: MakeTransport, reply: bytes) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(reply)

    proxy = serve(talk, context=None)
    client = transport("https://127.0.0.1:1", proxy_url=SecretUrl(f"http://127.0.0.1:{proxy.port}"))
    assert left_by_failures(client) == {}
