from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from vb365.support import (
    GET,
    Certificates,
    Connection,
    Recorder,
    Server,
    config,
    failure,
    http,
    responding_with,
)

from exporter.config.model import TLSConfig
from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    InternalError,
    Reason,
    RequestTimeoutError,
    StoppedError,
)
from exporter.vb365.http.body import MAX_BODY_BYTES, MAX_RECORD_BYTES
from exporter.vb365.http.deadlines import Watchdog
from exporter.vb365.http.session import new_session
from exporter.vb365.http.transport import Request, Transport
from support.poller_harness import StandingClock
from support.processes import free_port
from support.thread_limit import no_more_threads
from support.waiting import wait_until

Serve = Callable[..., Server]
MakeTransport = Callable[..., Transport]

SHORT = 0.05
"""A timeout in seconds; a whole request takes at most 6 times as much, and the watchdog's tenth of a second."""
GENEROUS = 10.0


# Requests and connections


def test_a_request_has_exactly_the_expected_headers(serve: Serve, transport: MakeTransport) -> None:
    seen = []

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            seen.append(request)
            connection.send(http(b'{"a": 1}', status="200 Fine"))

    server = serve(talk)
    form = Request(operation="token", target="/v7/token", method="POST", form={"a": "b c"})
    client = transport(server.url)
    response = client.exchange(GET)
    client.exchange(form)
    assert (response.status, response.reason, response.body) == (200, "Fine", b'{"a": 1}')
    assert [(each.method, each.target, each.body) for each in seen] == [
        ("GET", "/v7/x?y=1", b""),
        ("POST", "/v7/token", b"a=b+c"),
    ]
    host = server.url.removeprefix("https://")
    assert seen[0].headers == {
        "host": host,
        "user-agent": seen[0].headers["user-agent"],
        "accept": "application/json",
        "accept-encoding": "gzip",
    }
    assert seen[0].headers["user-agent"].startswith("vb365-restore-exporter/")
    assert seen[1].headers["content-length"] == "5"
    assert seen[1].headers["content-type"] == "application/x-www-form-urlencoded"


def test_a_connection_serves_many_requests(
    serve: Serve, transport: MakeTransport, observer: Recorder
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    server = serve(responding_with(http(), chunked, http(status="404 Not Found"), empty, http()))
    client = transport(server.url)
    for _ in range(6):
        client.exchange(GET)
    assert server.connections == 1
    assert [code for _, code in observer.requests] == ["200", "200", "404", "204", "200", "200"]


def test_a_connection_that_the_server_has_closed_is_replaced(
    serve: Serve, transport: MakeTransport
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(http(headers="Connection: close\r\n"))

    server = serve(talk)
    client = transport(server.url)
    client.exchange(GET)
    client.exchange(GET)
    assert server.connections == 2


def test_after_an_hour_a_session_with_tls_files_that_cannot_be_used_goes_on(
    serve: Serve, transport: MakeTransport, certificates: Certificates, tmp_path: Path
) -> None:
    clock = StandingClock()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(certificates.ca_file.read_bytes())
    server = serve(responding_with(http()))
    client = transport(
        server.url, watchdog=Watchdog(clock.monotonic), tls=TLSConfig(ca_file=ca_file)
    )
    client.exchange(GET)

    ca_file.write_text("being written")
    clock.seconds += 3600

    assert client.exchange(GET).status == 200


def test_a_connection_is_replaced_after_an_hour(serve: Serve, transport: MakeTransport) -> None:
    clock = StandingClock()
    server = serve(responding_with(http()))
    client = transport(server.url, watchdog=Watchdog(clock.monotonic))

    connections = []
    for _ in range(4):
        client.exchange(GET)
        connections.append(server.connections)
        clock.seconds += 1800

    assert connections == [1, 1, 2, 2]


def test_concurrent_requests_are_limited(serve: Serve, transport: MakeTransport) -> None:
    arrivals = threading.Semaphore(0)
    released = threading.Event()

    def talk(connection: Connection) -> None:
        while connection.request() is not None:
            arrivals.release()
            released.wait(GENEROUS)
            connection.send(http())

    client = transport(serve(talk).url, max_concurrent_requests=2)
    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(client.exchange, GET) for _ in range(8)]
        assert arrivals.acquire(timeout=GENEROUS)
        assert arrivals.acquire(timeout=GENEROUS)
        assert not arrivals.acquire(timeout=0.2)
        released.set()
        assert [outcome.result(GENEROUS).status for outcome in outcomes] == [200] * 8


def test_a_refused_connection_is_a_connect_error_that_was_not_sent(
    transport: MakeTransport, observer: Recorder
) -> None:
    port = free_port()
    error = failure(transport(f"https://127.0.0.1:{port}"))
    assert isinstance(error, ConnectError)
    assert str(error) == f"get: the connection to 127.0.0.1:{port} failed: Connection refused"
    assert not error.sent
    assert observer.requests == [("get", "error")]


def test_a_name_that_does_not_exist_is_a_connect_error(
    transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_args: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(transport("https://no.example.com"))
    assert isinstance(error, ConnectError)
    assert error.message == (
        "the host name of no.example.com:443 cannot be resolved: Name or service not known"
    )


def test_the_next_address_of_a_name_is_tried_when_one_cannot_be_used(
    serve: Serve, transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(responding_with(http()))
    closed = ("127.0.0.1", free_port())
    unsupported = 9999
    addresses = [
        (unsupported, socket.SOCK_STREAM, 0, "", closed),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", closed),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
    assert transport(server.url).exchange(GET).status == 200


def test_an_invalid_host_name_is_a_connect_error(transport: MakeTransport) -> None:
    assert isinstance(failure(transport(f"https://{'x' * 70}.example.com")), ConnectError)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", Reason.CONNECT),
        (http(b'{"a": 1}')[:-3], Reason.CONNECT),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Reason.CONNECT),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 99 X\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", Reason.BAD_RESPONSE),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Reason.BAD_RESPONSE,
        ),
    ],
)
def test_an_invalid_response_has_a_reason_and_is_counted_as_error(
    serve: Serve, transport: MakeTransport, observer: Recorder, reply: bytes, reason: Reason
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(reply)

    error = failure(transport(serve(talk).url))
    assert error.reason is reason
    assert error.sent
    assert observer.requests == [("get", "error")]


def test_a_redirect_is_returned_and_its_body_is_bounded(
    serve: Serve, transport: MakeTransport
) -> None:
    elsewhere = "Location: https://127.0.0.1:1/\r\n"
    huge = http(bytes(3_000_000), status="302 Found", headers=elsewhere)
    server = serve(responding_with(http(status="302 Found", headers=elsewhere), huge))
    client = transport(server.url)
    assert client.exchange(GET).status == 302
    assert isinstance(failure(client), BadResponseError)


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 199 X\r\n\r\n" * 16,
    ],
)
def test_interim_responses_are_skipped(
    serve: Serve, transport: MakeTransport, observer: Recorder, interim: bytes
) -> None:
    server = serve(responding_with(interim + http(b'{"a": 1}')))
    client = transport(server.url)
    assert [client.exchange(GET).body for _ in range(2)] == [b'{"a": 1}'] * 2
    assert server.connections == 1
    assert observer.requests == [("get", "200")] * 2


@pytest.mark.parametrize("status", [100, 102])
def test_endless_interim_responses_are_a_bad_response(
    serve: Serve, transport: MakeTransport, status: int
) -> None:
    interim = f"HTTP/1.1 {status} X\r\n\r\n".encode()
    error = failure(transport(serve(responding_with(interim * 17 + http())).url))
    assert isinstance(error, BadResponseError)


def test_a_protocol_switch_that_was_not_requested_is_returned(
    serve: Serve, transport: MakeTransport
) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
    server = serve(responding_with(switch))
    assert transport(server.url).exchange(GET).status == 101


@pytest.mark.parametrize("bytes_after", [100, 12_000, 100_000])
def test_bytes_after_a_response_are_not_taken_for_the_next_one(
    serve: Serve, transport: MakeTransport, bytes_after: int
) -> None:
    # Up to 16 KiB arrive in the TLS record of the response, of which the reader takes 8 KiB.
    forged = http(b'{"forged": 1}')
    unrequested = b"x" * (bytes_after - len(forged)) + forged
    server = serve(responding_with(http() + unrequested))
    client = transport(server.url)
    assert [client.exchange(GET).body for _ in range(3)] == [b"{}"] * 3


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + (b"Set-Cookie: a=1" + b";b" * 200 + b"\r\n") * 80 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000,
        b"HTTP/1.1 200 " + b"x" * 40_000 + b"\r\n\r\n",
        (b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 9000 + b"\r\n\r\n") * 4 + http(),
    ],
    ids=["a long header", "many headers", "an endless header", "reason", "interim responses"],
)
def test_a_head_that_is_too_large_is_a_bad_response(
    serve: Serve, transport: MakeTransport, head: bytes
) -> None:
    server = serve(responding_with(head))
    error = failure(transport(server.url))
    assert isinstance(error, BadResponseError)
    peer = server.url.removeprefix("https://")
    assert error.message == (
        f"the request to {peer} failed: the head of the response is larger than 32768 bytes"
    )


def test_each_response_of_a_connection_may_have_a_large_head(
    serve: Serve, transport: MakeTransport
) -> None:
    server = serve(responding_with(http(headers=f"X: {'x' * 32_000}\r\n")))
    client = transport(server.url)
    assert [client.exchange(GET).status for _ in range(3)] == [200] * 3
    assert server.connections == 1


def test_a_bare_carriage_return_does_not_begin_another_header(
    serve: Serve, transport: MakeTransport
) -> None:
    server = serve(responding_with(http(headers="X: a\rY: b\r\n")))
    headers = transport(server.url).exchange(GET).headers
    assert headers["X"] == "a Y: b"
    assert "Y" not in headers


# Cookies


def test_cookies_of_the_obsolete_kind_are_ignored_unparsed(
    serve: Serve, transport: MakeTransport
) -> None:
    server = serve(responding_with(http(headers="Set-Cookie: a=1\r\nSet-Cookie2: b=1\r\n")))
    headers = transport(server.url).exchange(GET).headers
    assert headers["Set-Cookie"] == "a=1"
    assert "Set-Cookie2" not in headers


def test_cookies_never_outgrow_the_headers_that_a_server_accepts(
    serve: Serve, transport: MakeTransport
) -> None:
    cookies = "".join(f"Set-Cookie: c{number}={'x' * 300}\r\n" for number in range(60))
    sent = []

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            sent.append(len(request.headers.get("cookie", "")))
            connection.send(http(headers=cookies))

    client = transport(serve(talk).url)
    for _ in range(3):
        client.exchange(GET)
    assert sent[0] == 0
    assert sent[1] == sent[2]
    assert 3000 < sent[1] < 4400


@pytest.mark.parametrize("value", ["x" * 5000, "a\x01b", "a\x0cb", "caf\xe9"])
def test_a_cookie_that_no_header_should_carry_is_not_kept(
    serve: Serve, transport: MakeTransport, value: str
) -> None:
    sent = []

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            sent.append(request.headers.get("cookie"))
            set_cookies = f"Set-Cookie: good=1\r\nSet-Cookie: bad={value}\r\n"
            connection.send(
                http(headers=set_cookies).replace(value.encode(), value.encode("latin-1"))
            )

    client = transport(serve(talk).url)
    for _ in range(2):
        client.exchange(GET)
    assert sent == [None, "good=1"]


def test_a_cookie_is_replaced_by_a_new_one_of_the_same_name(
    serve: Serve, transport: MakeTransport
) -> None:
    numbers = iter(range(10))
    sent = []

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            sent.append(request.headers.get("cookie", "")[:2])
            connection.send(http(headers=f"Set-Cookie: {'a'}={next(numbers)}{'x' * 3000}\r\n"))

    client = transport(serve(talk).url)
    for _ in range(3):
        client.exchange(GET)
    assert sent == ["", "a=", "a="]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("400 X", None), ("431 X", None), ("503 X", None), ("302 X", None)]
    + [(f"{status} X", "poison=1") for status in (401, 404, 429)],
)
def test_cookies_are_forgotten_when_a_request_that_carries_them_fails(
    serve: Serve, transport: MakeTransport, status: str, expected: str | None
) -> None:
    sent = []

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            sent.append(request.headers.get("cookie"))
            if len(sent) == 1:
                connection.send(http(headers="Set-Cookie: poison=1\r\n"))
            else:
                connection.send(http(status=status))

    client = transport(serve(talk).url)
    for _ in range(3):
        client.exchange(GET)
    assert sent == [None, "poison=1", expected]


def test_cookies_may_be_added_while_another_thread_copies_them(certificates: Certificates) -> None:
    cookies = new_session(config(tls=TLSConfig(ca_file=certificates.ca_file))).cookies
    cookies.set("a", "1")
    copying = iter(cookies)
    cookies.set("b", "1", domain="x")
    assert [each.name for each in copying] == ["a"]


# Sizes


@pytest.mark.parametrize(
    ("operation", "status", "limit"),
    [
        ("get", 200, MAX_RECORD_BYTES),
        ("token", 200, MAX_RECORD_BYTES),
        ("service_instance", 200, MAX_RECORD_BYTES),
        ("list", 500, MAX_RECORD_BYTES),
        ("statistics", 500, MAX_RECORD_BYTES),
        ("change_feed", 200, 4 * MAX_RECORD_BYTES),
        ("list", 200, MAX_BODY_BYTES),
    ],
)
def test_the_limit_of_a_body_depends_on_what_it_holds(
    serve: Serve, transport: MakeTransport, operation: str, status: int, limit: int
) -> None:
    largest, too_large = (http(bytes(size), status=f"{status} X") for size in (limit, limit + 1))
    client = transport(
        serve(responding_with(largest, too_large)).url, max_body_bytes=2 * MAX_BODY_BYTES
    )
    request = Request(operation=operation, target="/")
    assert len(client.exchange(request).body) == limit
    assert f"larger than {limit} bytes" in str(failure(client, request))


def test_of_statistics_4_mib_are_read(serve: Serve, transport: MakeTransport) -> None:
    limit = 4 * MAX_RECORD_BYTES
    whole, larger = (http(b"1,".ljust(size, b" ")) for size in (limit, limit + 1))
    client = transport(serve(responding_with(whole, larger)).url, max_body_bytes=MAX_BODY_BYTES)
    request = Request(operation="statistics", target="/")

    responses = [client.exchange(request) for _ in range(2)]

    assert [(len(each.body), each.is_cut) for each in responses] == [(limit, False), (1, True)]


def test_a_body_over_the_limit_is_refused_and_its_connection_closed(
    serve: Serve, transport: MakeTransport, observer: Recorder
) -> None:
    server = serve(responding_with(http(bytes(2_000_000))))
    client = transport(server.url)
    error = failure(client)
    assert isinstance(error, BadResponseError)
    assert "larger than 1000000 bytes" in str(error)
    failure(client)
    assert server.connections == 2
    assert observer.requests == [("get", "200")] * 2


@pytest.mark.parametrize("framing", ["chunked", "until closed"])
def test_a_body_of_unknown_length_is_bounded(
    serve: Serve, transport: MakeTransport, framing: str
) -> None:
    chunk = b"x" * 65536
    sent = 0

    def talk(connection: Connection) -> None:
        nonlocal sent
        connection.request()
        chunked = framing == "chunked"
        header = "Transfer-Encoding: chunked\r\n" if chunked else ""
        connection.send(f"HTTP/1.1 200 OK\r\n{header}\r\n".encode())
        while not connection.server.over.is_set():
            connection.send(b"10000\r\n" + chunk + b"\r\n" if chunked else chunk)
            sent += len(chunk)

    error = failure(transport(serve(talk).url))
    assert isinstance(error, BadResponseError)
    assert sent < 50_000_000


def test_a_gzip_body_is_decompressed(serve: Serve, transport: MakeTransport) -> None:
    body = json.dumps({"results": ["x" * 100] * 1000}).encode()
    packed = http(gzip.compress(body), headers="Content-Encoding: gzip\r\n")
    assert transport(serve(responding_with(packed)).url).exchange(GET).body == body


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(
    serve: Serve, transport: MakeTransport
) -> None:
    bomb = http(gzip.compress(bytes(200_000_000)), headers="Content-Encoding: gzip\r\n")
    client = transport(serve(responding_with(bomb)).url)
    tracemalloc.start()
    error = failure(client)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, BadResponseError)
    assert "decompressed" in str(error)
    assert peak < 10_000_000


# Time


@pytest.mark.parametrize("where", ["handshake", "headers", "body"])
def test_a_silent_server_is_timed_out(serve: Serve, transport: MakeTransport, where: str) -> None:
    def talk(connection: Connection) -> None:
        if where != "handshake":
            connection.request()
            connection.send(http())
            connection.request()
        if where == "body":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        connection.wait()

    timeout = 0.5
    options = {"context": None} if where == "handshake" else {}
    client = transport(
        serve(talk, **options).url, timeout=timeout, watchdog=Watchdog(StandingClock().monotonic)
    )
    if where != "handshake":
        # On a slow machine, a handshake may exceed the timeout, too.
        wait_until(lambda: responds(client), "an open connection")
    begun = time.perf_counter()
    error = failure(client)
    assert isinstance(error, RequestTimeoutError)
    handshake = "the TLS handshake with .* failed: timed out"
    assert re.search(
        handshake if where == "handshake" else "did not respond in time", error.message
    )
    assert time.perf_counter() - begun >= timeout


def responds(client: Transport) -> bool:
    """Return whether a response arrives before the timeout."""
    try:
        return client.exchange(GET).is_success
    except RequestTimeoutError:
        return False


@pytest.mark.parametrize("where", ["status line", "headers", "body", "chunks"])
def test_a_server_that_responds_byte_by_byte_is_timed_out_after_six_timeouts(
    serve: Serve, transport: MakeTransport, where: str
) -> None:
    clock = StandingClock()

    def drip(connection: Connection, data: bytes) -> None:
        connection.drip(data[:10], every_seconds=0.02)
        clock.seconds += 6 * GENEROUS
        connection.drip(data[10:], every_seconds=0.02)

    def talk(connection: Connection) -> None:
        connection.request()
        status = b"HTTP/1.1 200 OK\r\n"
        if where == "status line":
            drip(connection, status[:-2] + b"x" * 10_000)
        connection.send(status)
        if where == "headers":
            drip(connection, b"X: " + b"y" * 10_000)
        if where == "chunks":
            connection.send(b"Transfer-Encoding: chunked\r\n\r\n")
            drip(connection, b"1\r\nx\r\n" * 10_000)
        connection.send(b"Content-Length: 10000\r\n\r\n")
        drip(connection, b"x" * 10_000)

    client = transport(serve(talk).url, timeout=GENEROUS, watchdog=Watchdog(clock.monotonic))
    error = failure(client)
    assert isinstance(error, RequestTimeoutError)
    assert error.message.endswith("took longer than 60 s and was aborted during the request itself")


def test_a_handshake_byte_by_byte_is_timed_out_after_one_timeout(
    serve: Serve, transport: MakeTransport, certificates: Certificates
) -> None:
    server = serve(
        lambda connection: drip_handshake(connection, certificates.issue(), 0.05), context=None
    )
    client = transport(server.url, timeout=0.2, watchdog=Watchdog(StandingClock().monotonic))
    assert isinstance(failure(client), RequestTimeoutError)


def drip_handshake(connection: Connection, context: ssl.SSLContext, every_seconds: float) -> None:
    """Make the server's side of a handshake, but send its bytes slowly."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while not connection.server.over.is_set():
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        connection.drip(outgoing.read(), every_seconds=every_seconds)
        incoming.write(connection.sock.recv(65536))


def test_an_aborted_body_without_a_length_does_not_count_as_complete(
    serve: Serve, transport: MakeTransport
) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n{}")
        connection.drip(b" " * 10_000, every_seconds=0.02)

    error = failure(transport(serve(talk).url, timeout=SHORT))
    assert isinstance(error, RequestTimeoutError)


def test_a_request_can_have_a_tighter_deadline(serve: Serve, transport: MakeTransport) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.wait()

    request = Request(operation="token", target="/", deadline_seconds=0.05)
    error = failure(transport(serve(talk).url), request)
    assert "took longer than 0.05 s" in str(error)


@pytest.mark.parametrize("where", ["connecting", "handshake", "headers", "body"])
@pytest.mark.parametrize("how", ["event", "cancel"])
def test_all_requests_are_aborted_when_the_client_is_stopped(
    serve: Serve,
    transport: MakeTransport,
    stop: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    how: str,
) -> None:
    threads = 4
    arrived = threading.Barrier(threads + 1)

    def talk(connection: Connection) -> None:
        if where != "handshake":
            connection.request()
        if where == "body":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        arrived.wait(GENEROUS)
        connection.wait()

    def resolve(*args: Any, **kwargs: Any) -> Any:
        arrived.wait(GENEROUS)
        return getaddrinfo(*args, **kwargs)

    getaddrinfo = socket.getaddrinfo
    if where == "connecting":
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
    # The timeouts of the requests are longer than those of the test.
    with black_hole() as unconnectable:
        url = serve(talk, **({"context": None} if where == "handshake" else {})).url
        client = transport(unconnectable if where == "connecting" else url, timeout=3 * GENEROUS)
        with ThreadPoolExecutor(threads) as pool:
            outcomes = [pool.submit(client.exchange, GET) for _ in range(threads)]
            arrived.wait(GENEROUS)
            if how == "event":
                stop.set()
            else:
                client.cancel()
            errors = [outcome.exception(GENEROUS) for outcome in outcomes]
    assert [type(error) for error in errors] == [StoppedError] * threads


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield a URL to which no connection is ever made, as if a firewall dropped packets: the backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0)
            sock.connect_ex(listener.getsockname())
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def test_a_request_whose_name_is_still_being_resolved_does_not_hold_up_closing(
    transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving = threading.Event()
    resolved = threading.Event()

    def hang(*_args: object, **_kwargs: object) -> None:
        resolving.set()
        resolved.wait(GENEROUS)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    client = transport("https://slow.example.com")
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(client.exchange, GET)
        assert resolving.wait(GENEROUS)
        client.cancel()
        client.close()
        assert not outcome.done()
        resolved.set()
        assert isinstance(outcome.exception(GENEROUS), StoppedError)


def test_nothing_is_sent_once_the_client_is_stopped(
    serve: Serve, transport: MakeTransport, stop: threading.Event, observer: Recorder
) -> None:
    server = serve(responding_with(http()))
    client = transport(server.url)
    stop.set()
    assert isinstance(failure(client), StoppedError)
    assert server.connections == 0
    assert not observer.requests
    last = Request(operation="token", target="/", deadline_seconds=GENEROUS, allow_after_stop=True)
    assert client.exchange(last).status == 200


def test_a_request_that_is_allowed_after_the_stop_does_not_wait_for_a_slot(
    serve: Serve, transport: MakeTransport
) -> None:
    arrived = threading.Event()

    def talk(connection: Connection) -> None:
        request = connection.request()
        if request is not None and request.target == GET.target:
            arrived.set()
            connection.wait()
        connection.send(http())

    server = serve(talk)
    client = transport(server.url, max_concurrent_requests=1)
    with ThreadPoolExecutor(1) as pool:
        occupying = pool.submit(client.exchange, GET)
        assert arrived.wait(GENEROUS)
        last = Request(
            operation="token", target="/", deadline_seconds=GENEROUS, allow_after_stop=True
        )
        assert client.exchange(last).status == 200
        assert not occupying.done()
        server.close()


def test_reachable_reflects_the_last_request(serve: Serve, transport: MakeTransport) -> None:
    def talk(connection: Connection) -> None:
        connection.request()
        connection.send(http(status="500 X", headers="Connection: close\r\n"))

    server = serve(talk)
    client = transport(server.url)
    reachable = [client.reachable]
    client.exchange(GET)
    reachable.append(client.reachable)
    server.close()
    failure(client)
    reachable.append(client.reachable)
    assert reachable == [False, True, False]


def test_the_repr_of_requests_and_responses_holds_no_secret(
    serve: Serve, transport: MakeTransport
) -> None:
    request = Request(
        operation="token",
        method="POST",
        target="/v7/token",
        bearer="hunter2",
        form={"password": "hunter2"},
    )
    response = transport(serve(responding_with(http(b'"hunter2"'))).url).exchange(request)
    assert "hunter2" not in f"{request!r} {response!r} {request} {response}"


def test_all_transports_share_one_thread_for_their_deadlines(
    serve: Serve, transport: MakeTransport
) -> None:
    def watchdogs() -> int:
        return sum(thread.name == "watchdog" for thread in threading.enumerate())

    before, shared = watchdogs(), Watchdog()
    for _ in range(3):
        client = transport(serve(responding_with(http())).url, watchdog=shared)
        client.exchange(GET)
        client.close()

    assert watchdogs() == before + 1


def test_without_a_thread_for_its_deadline_a_request_is_not_sent(
    serve: Serve, transport: MakeTransport
) -> None:
    client = transport(serve(responding_with(http())).url, watchdog=Watchdog())
    with no_more_threads(), pytest.raises(InternalError, match="allows no more"):
        client.exchange(GET)

    assert client.exchange(GET).status == 200
