from __future__ import annotations

import asyncio
import errno
import http.client
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from web.support import (
    WAIT_SECONDS,
    FakeBackend,
    FakeExposition,
    always,
    connect,
    exchange,
    loopback,
    read_all,
    read_until,
    request,
    request_over,
)

from exporter.metrics.text_format import Format
from exporter.web.app import Handler, WebApp
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, WebServerError, bind_listeners
from exporter.web.reply import WRITE_BYTES, text_response
from exporter.web.server import WebServer
from exporter.web.tls import ServerContext
from support.processes import free_port
from support.waiting import wait_until

Serve = Callable[..., WebServer]

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
# Long enough for a scrape on a slow machine.
QUICK: dict[str, Any] = {"idle_seconds": 1.0}
# Never reached within a test.
PATIENT: dict[str, Any] = {"idle_seconds": WAIT_SECONDS * 3}


class BodiesOfLengths(FakeBackend):
    """A backend whose next body has the next length."""

    def __init__(self, lengths: Iterator[int]) -> None:
        super().__init__()
        self._lengths = lengths

    def exposition(self, wanted: Format) -> FakeExposition:
        super().exposition(wanted)
        return FakeExposition([b"x" * next(self._lengths)])


@contextmanager
def running(server: WebServer) -> Iterator[WebServer]:
    server.start()
    try:
        yield server
    finally:
        server.close(0.0)


def test_the_addresses_have_the_real_ports(serve: Serve) -> None:
    (address,) = serve(FakeBackend()).addresses
    assert address.host == "127.0.0.1"
    assert address.port > 0


def test_every_listener_is_served() -> None:
    app = WebApp(FakeBackend())
    listeners = bind_listeners([Address("127.0.0.1", 0), Address("127.0.0.1", 0)])
    with running(WebServer(ConnectionManager(app), listeners)) as server:
        for address in server.addresses:
            with closing(http.client.HTTPConnection(*address)) as connection:
                assert request_over(connection, "/metrics").status == 200


def test_a_connection_serves_many_requests(serve: Serve) -> None:
    connection = http.client.HTTPConnection(*loopback(serve(FakeBackend())), timeout=WAIT_SECONDS)
    with closing(connection):
        connection.connect()
        first = connection.sock
        for path in ["/metrics", "/", "/nothing", "/metrics"] * 5:
            request_over(connection, path)
        assert connection.sock is first


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"G",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: " + b"a" * 5000,
        SCRAPE + b"GET /metr",
    ],
)
def test_a_client_that_stops_in_its_request_is_closed_beside_scrapes(
    serve: Serve, beginning: bytes
) -> None:
    server = serve(FakeBackend(), options=QUICK)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(50)]
        for client in clients:
            client.sendall(beginning)
        assert request(server, "/metrics").status == 200
        for client in clients:
            read_all(client)
        assert request(server, "/metrics").status == 200


def test_pipelined_requests_are_served_in_their_order(serve: Serve) -> None:
    paths = ["/metrics", "/nothing", "/-/ready"] * 20
    requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n" for path in paths]
    requests[-1] += "Connection: close\r\n"
    data = "".join(f"{head}\r\n" for head in requests)
    received = exchange(serve(FakeBackend(), options=PATIENT), data.encode())
    responses = received.split(b"HTTP/1.1 ")[1:]
    assert [response[:3] for response in responses] == [b"200", b"404", b"200"] * 20
    assert [response.partition(b"\r\n\r\n")[2] for response in responses[:3]] == [
        b"# body\n",
        b"404 Not Found\n",
        b"ready\n",
    ]


def test_an_http_1_0_connection_is_kept_only_on_request(serve: Serve) -> None:
    server = serve(FakeBackend(), options=PATIENT)
    received = exchange(server, b"GET /metrics HTTP/1.0\r\n\r\n")
    assert received.startswith(b"HTTP/1.0 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n# body\n")
    with connect(server) as client:
        for _ in range(2):
            client.sendall(b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            read_until(client, b"\r\n\r\n# body\n")


def test_a_client_that_trickles_its_request_is_closed(serve: Serve) -> None:
    server = serve(FakeBackend(), options=QUICK)
    with connect(server) as client, suppress(ConnectionError):
        client.settimeout(0.02)
        received = None
        while received != b"":
            client.send(b"G")
            with suppress(TimeoutError):
                received = client.recv(1)


def test_the_announced_body_of_a_request_is_not_waited_for_long(serve: Serve) -> None:
    server = serve(FakeBackend(), options=QUICK)
    received = exchange(
        server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nabc"
    )
    assert received.endswith(b"# body\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
        b"BREW /metrics HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    ],
)
def test_a_malformed_request_is_rejected_in_few_words(
    serve: Serve, data: bytes, logged: list[MutableMapping[str, Any]]
) -> None:
    received = exchange(serve(FakeBackend()), data)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 400 Bad Request\r\n" in head
    assert body == b"400 Bad Request\n"
    assert b"Server: vb365-restore-exporter\r\n" in head
    assert b"nosniff" in head
    assert b"aiohttp" not in head
    assert b"Python" not in head
    assert {event["log_level"] for event in logged} == {"debug"}


def test_an_error_outside_the_routes_is_a_plain_500_and_a_log_event(
    logged: list[MutableMapping[str, Any]],
) -> None:
    @web.middleware
    async def fails(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - aiohttp's names
        raise ValueError("secret")

    app = WebApp(FakeBackend())
    app.application.middlewares.insert(0, fails)
    with running(
        WebServer(ConnectionManager(app), bind_listeners([Address("127.0.0.1", 0)]))
    ) as server:
        response = request(server, "/")
    assert (response.status, response.text) == (500, "500 Internal Server Error\n")
    assert response.headers["Server"] == "vb365-restore-exporter"
    assert [event["event"] for event in logged] == ["request failed"]


def open_connection(server: WebServer, stack: ExitStack) -> http.client.HTTPConnection:
    """Open a connection that has been served once."""
    connection = http.client.HTTPConnection(*loopback(server), timeout=WAIT_SECONDS)
    stack.enter_context(closing(connection))
    assert request_over(connection, "/metrics").status == 200
    return connection


def test_beyond_the_limit_the_client_silent_longest_is_evicted(serve: Serve) -> None:
    server = serve(FakeBackend(), options={"max_connections": 4, **PATIENT})
    with ExitStack() as stack:
        kept = open_connection(server, stack)
        silent, half, newest = (stack.enter_context(connect(server)) for _ in range(3))
        half.sendall(SCRAPE[:-4])
        assert request(server, "/-/healthy").status == 200
        assert read_all(silent) == b""
        half.sendall(SCRAPE[-4:])
        read_until(half, b"# body\n")
        newest.sendall(SCRAPE)
        read_until(newest, b"# body\n")
        assert request_over(kept, "/metrics").status == 200


def test_among_clients_that_were_served_the_one_idle_longest_is_evicted(serve: Serve) -> None:
    server = serve(FakeBackend(), options={"max_connections": 3, **PATIENT})
    with ExitStack() as stack:
        first, second, third = (open_connection(server, stack) for _ in range(3))
        assert request_over(first, "/metrics").status == 200
        open_connection(server, stack)
        with pytest.raises(http.client.RemoteDisconnected):
            request_over(second, "/metrics")
        assert request_over(third, "/metrics").status == 200
        assert request_over(first, "/metrics").status == 200


def test_a_client_whose_request_is_served_is_never_evicted(serve: Serve) -> None:
    begun, release = threading.Event(), threading.Event()

    def reload() -> list[str]:
        begun.set()
        return [] if release.wait(WAIT_SECONDS) else ["not released"]

    server = serve(FakeBackend(), reload=reload, options={"max_connections": 1, **PATIENT})
    with connect(server) as client:
        client.sendall(b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(WAIT_SECONDS)
        with connect(server) as refused:
            assert read_all(refused) == b""
        release.set()
        read_until(client, b"configuration reloaded\n")
    assert request(server, "/-/healthy").text == "healthy\n"


def test_a_client_that_waits_for_its_authorization_is_evicted_last(serve: Serve) -> None:
    held = HeldRequest()
    server = serve(FakeBackend(), guard=held, options={"max_connections": 2, **PATIENT})
    with connect(server) as guessing:
        guessing.sendall(SCRAPE)
        assert held.begun.wait(WAIT_SECONDS)
        with connect(server) as silent, connect(server):
            assert read_all(silent) == b""
            held.begun.clear()
        with connect(server) as next_guessing:
            next_guessing.sendall(SCRAPE)
            assert held.begun.wait(WAIT_SECONDS)
            with connect(server):
                assert read_all(guessing) == b""
        held.release.set()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux does")
@pytest.mark.parametrize(
    ("scheme", "ending"),
    [
        *itertools.product(["http", "https"], ["idle", "announced", "half-closed"]),
        ("https", "close_notify"),
    ],
)
def test_a_client_that_leaves_any_part_of_its_response_unread_is_closed(
    serve: Serve, tls: ssl.SSLContext, authority: trustme.CA, scheme: str, ending: str
) -> None:
    # How much the kernel takes varies: of one of these lengths, less than a full buffer is left.
    lengths = range(100_000, 1_300_000, 50_000)
    options: dict[str, Any] = {"idle_seconds": 2.0, "send_seconds": 1.0}
    if scheme == "https":
        options["tls"] = always(tls)
    server = serve(BodiesOfLengths(itertools.cycle(lengths)), options=options)
    before = open_files()
    with ExitStack() as stack:
        clients = []
        for _ in lengths:
            client = stack.enter_context(connect(server, receive_buffer=4096))
            if scheme == "https":
                client = stack.enter_context(
                    trusting(authority).wrap_socket(client, server_hostname="127.0.0.1")
                )
            client.sendall(LAST if ending == "announced" else SCRAPE)
            clients.append(client)
        # Responses take turns: when this one has arrived, the kernel has taken what it can of the others.
        scrape = scrape_by_tls(server, authority) if scheme == "https" else exchange(server, LAST)
        assert len(scrape) >= lengths.start
        for client in clients:
            if ending == "half-closed":
                client.shutdown(socket.SHUT_WR)
            elif isinstance(client, ssl.SSLSocket) and ending == "close_notify":
                client.settimeout(0.0)
                with suppress(ssl.SSLError):  # it sends, but does not wait for the answer
                    client.unwrap()
        wait_until(lambda: open_files() <= before + len(clients), "the server's side is closed")


class FailingListener(socket.socket):
    """A listener that fails once, when there is an error, instead of accepting."""

    error: Exception | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().accept()


def failing_listener() -> FailingListener:
    (listener,) = bind_listeners([Address("127.0.0.1", 0)])
    return FailingListener(fileno=listener.detach())


def test_without_file_descriptors_idle_clients_are_evicted(
    logged: list[MutableMapping[str, Any]],
) -> None:
    listener = failing_listener()
    with (
        running(
            WebServer(ConnectionManager(WebApp(FakeBackend()), **PATIENT), [listener])
        ) as server,
        connect(server) as silent,
        connect(server) as client,
    ):
        client.sendall(SCRAPE)  # so both have been accepted
        read_until(client, b"# body\n")
        listener.error = OSError(errno.EMFILE, "Too many open files")
        assert request(server, "/metrics").status == 200
        assert read_all(silent) == b""
    assert [event["event"] for event in logged if event["log_level"] == "warning"] == [
        "cannot accept connections"
    ]


def test_a_freed_connection_lets_the_next_client_in(serve: Serve) -> None:
    server = serve(FakeBackend(), options={"max_connections": 1})
    for _ in range(5):
        assert exchange(
            server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ).endswith(b"# body\n")


class HeldRequest:
    """A request that is served when the test releases it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    async def __call__(self, _request: web.Request) -> web.Response | None:
        self.begun.set()
        await asyncio.get_running_loop().run_in_executor(None, self.release.wait, WAIT_SECONDS)
        return text_response("held\n")


def test_closing_lets_a_request_in_flight_finish_and_accepts_no_other(serve: Serve) -> None:
    held = HeldRequest()
    server = serve(FakeBackend(), guard=held)
    with connect(server) as idle, connect(server) as client:
        client.sendall(SCRAPE)
        assert held.begun.wait(WAIT_SECONDS)
        closing_thread = threading.Thread(target=server.close, args=(WAIT_SECONDS,))
        closing_thread.start()
        assert read_all(idle) == b""  # the drain has begun: idle connections are closed
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        held.release.set()
        assert read_all(client).endswith(b"held\n")
        closing_thread.join(WAIT_SECONDS)
        assert not closing_thread.is_alive()


def test_closing_lets_a_slow_client_receive_its_whole_body(serve: Serve) -> None:
    begun = threading.Event()
    body = FakeExposition(raw=[b"x" * WRITE_BYTES] * 60, on_block=begun.set)
    server = serve(FakeBackend(body=body))
    with connect(server, receive_buffer=4096) as client:
        client.sendall(SCRAPE)
        assert begun.wait(WAIT_SECONDS)
        closing_thread = threading.Thread(target=server.close, args=(WAIT_SECONDS,))
        closing_thread.start()
        received = read_all(client)
        closing_thread.join(WAIT_SECONDS)
        assert not closing_thread.is_alive()
    assert len(received.partition(b"\r\n\r\n")[2]) == 60 * WRITE_BYTES


def test_closing_aborts_requests_that_do_not_finish_in_time(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    begun = threading.Event()
    body = FakeExposition(raw=[b"x" * WRITE_BYTES] * 400, on_block=begun.set)
    server = serve(FakeBackend(body=body))
    with connect(server, receive_buffer=4096) as client:
        client.sendall(SCRAPE)
        assert begun.wait(WAIT_SECONDS)
        server.close(0.1)
        assert len(read_all(client)) < 400 * WRITE_BYTES
    assert [(event["event"], event["connections"]) for event in logged] == [
        ("requests aborted at shutdown", 1)
    ]


def test_closing_frees_the_port(serve: Serve) -> None:
    server = serve(FakeBackend(), listen=Address("127.0.0.1", free_port()))
    with closing(http.client.HTTPConnection(*loopback(server))) as connection:
        request_over(connection, "/metrics")
        server.close(1.0)  # ends the idle connection, which leaves it in TIME_WAIT on this side
    bind_listeners([server.addresses[0]])[0].close()


def test_closing_twice_or_before_the_start_is_harmless(serve: Serve) -> None:
    server = serve(FakeBackend())
    server.close(1.0)
    server.close(1.0)
    app = WebApp(FakeBackend())
    (listener,) = bind_listeners([Address("127.0.0.1", 0)])
    WebServer(ConnectionManager(app), [listener]).close(1.0)
    assert listener.fileno() == -1


def test_a_server_that_cannot_accept_any_more_stops_and_logs_it(
    logged: list[MutableMapping[str, Any]],
) -> None:
    listener = failing_listener()
    with running(WebServer(ConnectionManager(WebApp(FakeBackend())), [listener])) as server:
        assert request(server, "/metrics").status == 200
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "web")
        listener.error = ValueError()
        with suppress(ConnectionError):
            connect(server).close()
        thread.join(WAIT_SECONDS)
        assert not server.running
    assert [event["event"] for event in logged] == ["web server stopped unexpectedly"]


def test_unusable_listeners_are_an_error_at_startup() -> None:
    app = WebApp(FakeBackend())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as no_listener:
        no_listener.bind(("127.0.0.1", 0))
        server = WebServer(ConnectionManager(app), [no_listener])
        with pytest.raises(WebServerError, match="cannot serve HTTP"):
            server.start()
        server.close(1.0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


def scrape_by_tls(server: WebServer, authority: trustme.CA, name: str | None = None) -> bytes:
    """Scrape, with a certificate of that name if one is given."""
    trust = trusting(authority)
    if name is not None:
        authority.issue_cert(name).configure_cert(trust)
    connection = http.client.HTTPSConnection(*loopback(server), context=trust, timeout=WAIT_SECONDS)
    with closing(connection):
        return request_over(connection, "/metrics").body


def test_a_large_body_arrives_whole_by_tls(
    serve: Serve, tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    blocks = [bytes([number]) * 70_000 for number in range(200)]
    server = serve(FakeBackend(body=FakeExposition(raw=blocks)), options={"tls": always(tls)})
    assert scrape_by_tls(server, authority) == b"".join(blocks)


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_client_without_a_tls_handshake_is_closed_beside_scrapes(
    serve: Serve,
    tls: ssl.SSLContext,
    authority: trustme.CA,
    beginning: bytes,
    logged: list[MutableMapping[str, Any]],
) -> None:
    server = serve(FakeBackend(), options={"tls": always(tls), **QUICK})
    with connect(server) as client:
        client.sendall(beginning)
        assert scrape_by_tls(server, authority) == b"# body\n"
        read_all(client)
        assert scrape_by_tls(server, authority) == b"# body\n"
    assert {event["log_level"] for event in logged} <= {"debug"}


def test_beyond_the_limit_a_client_in_its_tls_handshake_is_evicted(
    serve: Serve, tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    server = serve(FakeBackend(), options={"tls": always(tls), "max_connections": 3, **PATIENT})
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(3)]
        clients[0].sendall(b"\x16\x03\x01")
        assert scrape_by_tls(server, authority) == b"# body\n"
        assert read_all(clients[0]) == b""
        server.close(0.0)
        assert [read_all(client) for client in clients[1:]] == [b"", b""]


def test_a_certificate_without_an_allowed_name_may_request_nothing(
    serve: Serve, tls: ServerContext, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.allowed_names = frozenset({"prometheus.example"})
    authority.configure_trust(tls)
    backend = FakeBackend()
    server = serve(backend, options={"tls": always(tls)})
    assert scrape_by_tls(server, authority, "prometheus.example") == b"# body\n"
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        scrape_by_tls(server, authority, "other.example")
    server.close(WAIT_SECONDS)
    assert [event["reason"] for event in logged] == ["client certificate has no allowed name"]
    assert len(backend.requested) == 1


def test_an_error_of_the_tls_source_closes_the_connection(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    async def fails() -> ssl.SSLContext | None:
        raise ValueError

    server = serve(FakeBackend(), options={"tls": fails})
    with connect(server) as client:
        assert read_all(client) == b""
    assert [event["event"] for event in logged] == ["connection cannot be served"]


def test_a_client_silent_after_its_tls_handshake_is_closed(
    serve: Serve, tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    server = serve(FakeBackend(), options={"tls": always(tls), **QUICK})
    trust = trusting(authority)
    with (
        connect(server) as client,
        trust.wrap_socket(client, server_hostname="127.0.0.1") as connection,
    ):
        assert read_all(connection) == b""


def test_a_client_in_its_tls_handshake_does_not_delay_closing(
    serve: Serve, tls: ssl.SSLContext, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    server = serve(FakeBackend(), options={"tls": always(tls), **PATIENT})
    with connect(server) as client:
        client.sendall(b"\x16")
        assert scrape_by_tls(server, authority) == b"# body\n"
        server.close(WAIT_SECONDS)
        assert read_all(client) == b""
    assert {event["log_level"] for event in logged} == {"debug"}  # nothing had to be aborted
