"""Clients that send more than a request: bodies, other protocols, and requests without end."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import pytest
from web.support import (
    WAIT_SECONDS,
    FakeBackend,
    connect,
    exchange,
    read_all,
    read_until,
    request,
    taken_bytes,
)

from exporter.web.server import WebServer
from support.waiting import wait_until

Serve = Callable[..., WebServer]

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
LARGE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 8000 + b"\r\n\r\n"
# Long enough to send a request on a slow machine.
QUICK: dict[str, Any] = {"idle_seconds": 1.0}
PATIENT: dict[str, Any] = {"idle_seconds": WAIT_SECONDS * 3}
# What kernel buffers may take besides what the server holds.
MAX_TAKEN_BYTES = 8 * 1024 * 1024


class HeldReload:
    """A reload that takes until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> list[str]:
        self.begun.set()
        return [] if self.release.wait(WAIT_SECONDS * 3) else ["not released"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
@pytest.mark.parametrize("body", [b"abc", b"1\r\na\r\n0\r\n\r\n", b"\0" * 70_000, SCRAPE * 100])
def test_a_request_body_is_not_parsed_and_is_the_end_of_the_connection(
    serve: Serve, head: bytes, body: bytes, logged: list[MutableMapping[str, Any]]
) -> None:
    received = exchange(serve(FakeBackend(), options=QUICK), head + body)
    assert received.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in received
    assert received.endswith(b"# body\n")
    assert logged == []


def test_a_small_request_body_does_not_prevent_a_reload(serve: Serve) -> None:
    received = exchange(
        serve(FakeBackend(), reload=list, options=QUICK),
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    )
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (CHUNKED, b"1\r\na\r\n" * 10_000),
        (CHUNKED, b"10000\r\n" + b"a" * 0x10000 + b"\r\n"),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n", b"a" * 65536),
        (UPGRADE.replace(b"GET /metrics", b"POST /-/reload"), b"a" * 65536),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n", LARGE),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n", SCRAPE * 1000),
    ],
    ids=["one-byte chunks", "chunks", "body", "upgrade", "large pipelined", "small pipelined"],
)
def test_little_is_taken_of_what_follows_a_request_in_progress(
    serve: Serve, head: bytes, endless: bytes
) -> None:
    held = HeldReload()
    server = serve(FakeBackend(), reload=held, options=PATIENT)
    with connect(server) as client:
        client.sendall(head)
        assert held.begun.wait(WAIT_SECONDS)
        assert taken_bytes(client, endless, MAX_TAKEN_BYTES) < MAX_TAKEN_BYTES
        assert request(server, "/metrics").status == 200
        held.release.set()


def test_little_is_taken_of_a_body_after_its_response(serve: Serve) -> None:
    server = serve(FakeBackend(), options={"idle_seconds": 1.0})
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        read_until(client, b"# body\n")
        assert taken_bytes(client, b"1\r\na\r\n" * 10_000, MAX_TAKEN_BYTES) < MAX_TAKEN_BYTES


def test_a_request_after_a_declined_upgrade_is_served(serve: Serve) -> None:
    server = serve(FakeBackend(), options=PATIENT)
    with connect(server) as client:
        client.sendall(UPGRADE + SCRAPE)
        read_until(client, b"# body\n")
        client.sendall(SCRAPE)
        read_until(client, b"# body\n")


def test_requests_are_served_however_their_bytes_arrive(serve: Serve) -> None:
    server = serve(FakeBackend(), options=PATIENT)
    requests = b"\r\n\r\n" + (SCRAPE + b"\r\n") * 3
    for size in (1, 2, 3, 5, 37, 38, 39, 40, len(requests)):
        with connect(server) as client:
            for start in range(0, len(requests), size):
                client.sendall(requests[start : start + size])
            received = b""
            while received.count(b"# body\n") < 3:
                received += client.recv(1 << 16)
            assert received.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("count", [3, 60])
def test_a_head_is_bounded_as_a_whole(serve: Serve, count: int) -> None:
    head = (
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + (b"X: " + b"a" * 8000 + b"\r\n") * count
    )
    received = exchange(serve(FakeBackend()), head + b"\r\n")
    status = re.match(rb"HTTP/1.. (\d+)", received + b"HTTP/1.0 400")  # a reset may overtake it
    assert status is not None
    assert status[1] == (b"200" if count == 3 else b"400")


def test_a_head_without_an_end_is_rejected_early(serve: Serve) -> None:
    server = serve(FakeBackend(), options=PATIENT)
    with connect(server) as client:
        client.sendall(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"a" * 6000 + b"\r\n") * 6
        )
        assert b" 400 Bad Request\r\n" in read_all(client)


@pytest.mark.parametrize("method", [b"BREW", b"get", b"\x16\x03\x01", b"A" * 40, b""])
def test_what_is_no_request_is_rejected_without_its_end(serve: Serve, method: bytes) -> None:
    server = serve(FakeBackend(), options=PATIENT)
    with connect(server) as client:
        client.sendall(method + b" /" + b"a" * 60_000)
        assert b" 400 Bad Request\r\n" in read_all(client)


def test_any_method_is_understood(serve: Serve) -> None:
    received = exchange(
        serve(FakeBackend()), b"M-SEARCH / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert received.startswith(b"HTTP/1.1 405 ")


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "data",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 60,
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n" + b"a" * 30_000,
        b"\0" * 70_000,
    ],
)
def test_nothing_of_a_rejected_request_waits_for_the_garbage_collector(
    serve: Serve, data: bytes
) -> None:
    server = serve(FakeBackend())
    before = tracebacks()
    for _ in range(20):
        with connect(server) as client, suppress(ConnectionError):
            client.sendall(data)
            read_all(client)
    wait_until(lambda: tracebacks() <= before, "the end of the connections")


def tracebacks() -> int:
    """Return the number of tracebacks: their frames hold what was received."""
    return sum(isinstance(held, TracebackType) for held in gc.get_objects())
