from __future__ import annotations

import asyncio
import gzip
import http.client
import threading
import time
from collections.abc import Callable, MutableMapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from typing import Any

import pytest
from aiohttp import web
from web.support import (
    WAIT_SECONDS,
    FakeBackend,
    FakeExposition,
    connect,
    exchange,
    loopback,
    read_all,
    request,
    request_over,
)

from exporter.metrics.text_format import Format
from exporter.web.app import WebApp
from exporter.web.listeners import WebServerError
from exporter.web.reply import WRITE_BYTES, text_response
from exporter.web.server import WebServer

Serve = Callable[..., WebServer]


PATHS = ["/metrics", "/", "/-/healthy", "/-/ready", "/config"]
OPENMETRICS = ("Accept", "application/openmetrics-text;version=1.0.0")
GZIP = ("Accept-Encoding", "gzip")
SMALL_BUFFER = 4096


def two_forms(block: bytes, count: int) -> FakeExposition:
    whole = gzip.compress(block * count, 1)
    pieces = [whole[start : start + 1000] for start in range(0, len(whole), 1000)]
    return FakeExposition(raw=[block] * count, gzipped=pieces)


def test_metrics_are_text_0_0_4_unless_another_format_is_requested(serve: Serve) -> None:
    backend = FakeBackend()
    response = request(serve(backend), "/metrics")
    assert (response.status, response.body) == (200, b"# body\n")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert backend.requested == [Format.TEXT]


def test_metrics_are_openmetrics_on_request(serve: Serve) -> None:
    backend = FakeBackend()
    response = request(serve(backend), "/metrics", headers=[OPENMETRICS])
    assert (
        response.headers["Content-Type"]
        == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )
    assert backend.requested == [Format.OPENMETRICS]


def test_an_accept_header_in_several_lines_is_one_list(serve: Serve) -> None:
    backend = FakeBackend()
    request(serve(backend), "/metrics", headers=[("Accept", "text/plain;q=0.5"), OPENMETRICS])
    assert backend.requested == [Format.OPENMETRICS]


@pytest.mark.parametrize("accept", [b"version=abc", b"\xff\xfe", b"a/b;q=x", b";", b'a/b;c="'])
def test_a_malformed_accept_header_gets_text_0_0_4(serve: Serve, accept: bytes) -> None:
    received = exchange(
        serve(FakeBackend()),
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: " + accept + b"\r\n\r\n",
    )
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in received


def test_gzip_is_sent_byte_for_byte_as_prepared_if_accepted(serve: Serve) -> None:
    body = two_forms(b"vb365_up 1\n", 5000)
    response = request(serve(FakeBackend(body=body)), "/metrics", headers=[GZIP])
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Length"] == str(len(response.body))
    assert response.body == b"".join(body.gzipped)


@pytest.mark.parametrize("accepted", [[], [("Accept-Encoding", "gzip;q=0")]])
def test_gzip_is_not_sent_if_not_accepted(serve: Serve, accepted: list[tuple[str, str]]) -> None:
    body = two_forms(b"vb365_up 1\n", 5000)
    response = request(serve(FakeBackend(body=body)), "/metrics", headers=accepted)
    assert "Content-Encoding" not in response.headers
    assert response.body == b"vb365_up 1\n" * 5000


def test_the_vary_header_names_what_the_response_depends_on(serve: Serve) -> None:
    response = request(serve(FakeBackend()), "/metrics")
    assert response.headers["Vary"] == "Accept, Accept-Encoding"


def test_a_body_of_many_megabytes_arrives_whole_over_one_connection_again_and_again(
    serve: Serve,
) -> None:
    blocks = [bytes([number]) * (97 * number) for number in range(250)] * 3
    blocks += [b"x" * (WRITE_BYTES * 3 + 1), b"", b"y" * WRITE_BYTES, b"z"]
    server = serve(FakeBackend(body=FakeExposition(raw=blocks)))
    connection = http.client.HTTPConnection(*loopback(server), timeout=WAIT_SECONDS)
    with closing(connection):
        for _ in range(3):
            response = request_over(connection, "/metrics")
            assert response.body == b"".join(blocks)
            assert response.headers["Content-Length"] == str(len(response.body))


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_head_gets_the_header_of_get_without_the_body(serve: Serve, path: str) -> None:
    server = serve(FakeBackend())
    wanted, got = request(server, path), request(server, path, method="HEAD")
    assert (got.status, got.body) == (wanted.status, b"")
    assert dict(got.headers) | {"Date": ""} == dict(wanted.headers) | {"Date": ""}


def test_head_of_a_large_body_leaves_the_connection_usable(serve: Serve) -> None:
    body = FakeExposition(raw=[b"x" * 1000] * 1000)
    connection = http.client.HTTPConnection(*loopback(serve(FakeBackend(body=body))))
    with closing(connection):
        head = request_over(connection, "/metrics", method="HEAD")
        assert (head.headers["Content-Length"], head.body) == ("1000000", b"")
        assert len(request_over(connection, "/metrics").body) == 1_000_000


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "//metrics", "/-/reload", "/%00", "/templates/status.css"]
)
def test_any_other_path_is_not_found(serve: Serve, path: str) -> None:
    response = request(serve(FakeBackend()), path)
    assert (response.status, response.text) == (404, "404 Not Found\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_another_method_gets_405_with_the_allowed_ones(
    serve: Serve, method: str, path: str
) -> None:
    response = request(serve(FakeBackend()), path, method=method)
    assert (response.status, response.text) == (405, "405 Method Not Allowed\n")
    assert response.headers["Allow"] == "GET, HEAD"


def test_a_reload_returns_the_problems_of_the_configuration(serve: Serve) -> None:
    problems: list[str] = []
    server = serve(FakeBackend(), reload=lambda: problems)

    response = request(server, "/-/reload", method="POST")
    assert (response.status, response.text) == (200, "configuration reloaded\n")

    problems.append("servers[0].auth: needs a password")
    response = request(server, "/-/reload", method="POST")
    assert response.status == 500
    assert response.text.splitlines() == [
        "configuration cannot be used, keeping the old one",
        "servers[0].auth: needs a password",
    ]

    response = request(server, "/-/reload")
    assert (response.status, response.headers["Allow"]) == (405, "POST")


def test_a_slow_reload_delays_no_scrape(serve: Serve) -> None:
    scraped = threading.Event()
    server = serve(
        FakeBackend(), reload=lambda: [] if scraped.wait(WAIT_SECONDS) else ["no scrape"]
    )
    with ThreadPoolExecutor(1) as reloading:
        response = reloading.submit(request, server, "/-/reload", method="POST")
        assert request(server, "/metrics").status == 200
        scraped.set()
        assert response.result().status == 200


def test_without_lifecycle_there_is_no_reload(serve: Serve) -> None:
    assert request(serve(FakeBackend()), "/-/reload", method="POST").status == 404


def test_the_query_and_an_absolute_target_do_not_change_the_path(serve: Serve) -> None:
    server = serve(FakeBackend())
    assert request(server, "/metrics?name[]=x").status == 200
    assert request(server, "http://elsewhere.example/metrics").status == 200


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_health_is_reported_by_status_and_reasons(serve: Serve, path: str) -> None:
    problems = ["hq: stuck", "lab: stuck"]
    well = request(serve(FakeBackend()), path)
    ill = request(serve(FakeBackend(unhealthy=problems, unready=problems)), path)
    word = path.removeprefix("/-/")
    assert (well.status, well.text) == (200, f"{word}\n")
    assert (ill.status, ill.text) == (503, f"not {word}\nhq: stuck\nlab: stuck\n")


def test_health_and_readiness_are_independent(serve: Serve) -> None:
    server = serve(FakeBackend(unready=["hq: not polled yet"]))
    assert request(server, "/-/healthy").status == 200
    assert request(server, "/-/ready").status == 503


def test_the_configuration_is_shown_as_plain_text(serve: Serve) -> None:
    response = request(serve(FakeBackend(config="name: <b>hq</b> \ud800\n")), "/config")
    assert (response.status, response.text) == (200, "name: <b>hq</b> ?\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_the_status_page_is_html(serve: Serve) -> None:
    response = request(serve(FakeBackend()), "/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_every_response_has_the_security_headers(serve: Serve, path: str) -> None:
    headers = request(serve(FakeBackend()), path).headers
    policy = headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "vb365-restore-exporter"


def test_an_unknown_expectation_gets_417_with_the_security_headers(serve: Serve) -> None:
    response = request(serve(FakeBackend()), "/metrics", headers=[("Expect", "miracles")])
    assert response.status == 417
    assert response.headers["Server"] == "vb365-restore-exporter"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_that_expects_100_continue_is_served(serve: Serve) -> None:
    received = exchange(
        serve(FakeBackend()),
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
    )
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert received.endswith(b"# body\n")


def test_extra_headers_are_in_every_response_and_replace_its_own(serve: Serve) -> None:
    further = (("Strict-Transport-Security", "max-age=9"), ("Content-Security-Policy", "mine"))
    server = serve(FakeBackend(), extra_headers=lambda: further)
    for response in (
        exchange(server, b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        exchange(server, b"no request\r\n\r\n"),
    ):
        assert response.count(b"Strict-Transport-Security: max-age=9\r\n") == 1
        assert response.count(b"Content-Security-Policy: mine\r\n") == 1
        assert response.count(b"Content-Security-Policy:") == 1


def test_an_error_behind_a_page_is_a_plain_500_and_a_log_event(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    server = serve(FakeBackend(body=ValueError("secret")))
    response = request(server, "/metrics")
    assert (response.status, response.text) == (500, "500 Internal Server Error\n")
    assert [(event["event"], event["error"]) for event in logged] == [
        ("request failed", "ValueError")
    ]
    assert request(server, "/-/healthy").status == 200


@pytest.mark.parametrize("announced", [5, 7_100_000, 13_000_000])
def test_a_body_of_another_length_than_announced_aborts_the_connection(
    serve: Serve, logged: list[MutableMapping[str, Any]], announced: int
) -> None:
    body = FakeExposition(raw=[b"x" * 1_000_000] * 10, length=announced)
    received = exchange(serve(FakeBackend(body=body)), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    _, _, content = received.partition(b"\r\n\r\n")
    assert len(content) < announced
    assert [event["event"] for event in logged] == ["response aborted"]


def test_an_error_within_a_body_aborts_the_connection(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    blocks_left = [1, 2, 3, 4, 5]

    def fails_in_the_end() -> None:
        blocks_left.pop()

    body = FakeExposition(raw=[b"x" * WRITE_BYTES] * 10, on_block=fails_in_the_end)
    received = exchange(serve(FakeBackend(body=body)), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(received) < 10 * WRITE_BYTES
    assert [event["event"] for event in logged] == ["response aborted"]


def test_a_client_that_disconnects_within_a_body_is_no_error(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    stalled = StalledScrape()
    backend = FakeBackend(body=stalled.body)
    server = serve(backend, max_requests=1)
    with connect(server, receive_buffer=SMALL_BUFFER) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stalled.begun.wait(WAIT_SECONDS)
    backend.body = FakeExposition(raw=[b"small"])
    while request(server, "/metrics").status == 503:
        pass  # until the server has noticed
    assert {event["log_level"] for event in logged} <= {"debug"}


class StalledScrape:
    """A large body whose blocks are counted; for a client that reads nothing."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.blocks = 0
        self.body = FakeExposition(raw=[b"x" * WRITE_BYTES] * 400, on_block=self._count)

    def _count(self) -> None:
        self.blocks += 1
        self.begun.set()


def test_scrapes_beyond_max_requests_get_503_and_nothing_else_does(serve: Serve) -> None:
    stalled = StalledScrape()
    backend = FakeBackend(body=stalled.body)
    server = serve(backend, max_requests=1)
    with connect(server, receive_buffer=SMALL_BUFFER) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stalled.begun.wait(WAIT_SECONDS)
        busy = request(server, "/metrics")
        assert (busy.status, busy.text) == (503, "503 Service Unavailable\n")
        assert busy.headers["Retry-After"] == "5"
        assert request(server, "/-/healthy").status == 200
    backend.body = FakeExposition(raw=[b"small"])
    while (response := request(server, "/metrics")).status == 503:
        pass  # until the server has noticed that the client went away
    assert response.body == b"small"


@pytest.mark.parametrize("path", ["/metrics", "/config"])
def test_clients_that_read_nothing_take_no_place_from_others(serve: Serve, path: str) -> None:
    large = FakeExposition(raw=[b"x" * WRITE_BYTES] * 20)
    backend = FakeBackend(body=large, config="x" * WRITE_BYTES * 20)
    server = serve(backend, max_requests=40, stall_seconds=0.0)
    with ExitStack() as stack:
        for _ in range(120):
            client = stack.enter_context(connect(server, receive_buffer=SMALL_BUFFER))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for _ in range(5):
            response = request(server, path)
            assert (response.status, len(response.body)) == (200, WRITE_BYTES * 20)


def test_an_address_with_most_places_gives_one_to_another_address(serve: Serve) -> None:
    large = FakeExposition(raw=[b"x" * WRITE_BYTES] * 20)
    server = serve(FakeBackend(body=large), max_requests=4, stall_seconds=WAIT_SECONDS)
    with ExitStack() as stack:
        clients = [connect(server, receive_buffer=SMALL_BUFFER) for _ in range(4)]
        for client in clients:
            stack.enter_context(client)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        while request(server, "/metrics").status == 200:
            pass  # until the last of them has its place
        connection = http.client.HTTPConnection(
            *loopback(server), timeout=WAIT_SECONDS, source_address=("127.0.0.2", 0)
        )
        with closing(connection):
            assert len(request_over(connection, "/metrics").body) == WRITE_BYTES * 20


def test_pages_beyond_their_places_get_503_and_take_none_of_the_scrapes(serve: Serve) -> None:
    release = threading.Event()

    class SlowBackend(FakeBackend):
        def config_text(self) -> str:
            return "late" if release.wait(WAIT_SECONDS) else "too late"

    server = serve(SlowBackend())
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET /config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while request(server, "/").status == 200:
            pass  # until the last of them has its place
        assert request(server, "/metrics").status == 200
        release.set()
        assert {read_all(client).rpartition(b"\r\n")[2] for client in clients} == {b"late"}


def test_reloads_beyond_their_places_get_503(serve: Serve) -> None:
    release = threading.Event()
    server = serve(
        FakeBackend(), reload=lambda: [] if release.wait(WAIT_SECONDS) else ["not released"]
    )
    with ThreadPoolExecutor(5) as pool:
        reloads = [pool.submit(request, server, "/-/reload", method="POST") for _ in range(5)]
        rejected, waiting = wait(reloads, return_when=FIRST_COMPLETED)
        assert [reload.result().status for reload in rejected] == [503]
        release.set()
        assert {reload.result().status for reload in waiting} == {200}


def test_a_client_that_reads_nothing_is_disconnected_and_costs_little_memory(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    stalled = StalledScrape()
    server = serve(FakeBackend(body=stalled.body), options={"send_seconds": 0.2})
    with connect(server, receive_buffer=SMALL_BUFFER) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stalled.begun.wait(WAIT_SECONDS)
        while not logged:
            assert request(server, "/-/healthy").status == 200
        assert len(read_all(client)) < 400 * WRITE_BYTES
    assert stalled.blocks < 100  # the kernel's buffers hold some; the others were never requested


@pytest.mark.parametrize(
    ("path", "header", "count"),
    [
        ("/metrics", "Accept: */*", 30),
        ("/config", "Accept: */*", 30),
        ("/", "Expect: miracles", 20_000),  # rejected by aiohttp, before the middleware
    ],
)
def test_a_client_that_reads_nothing_does_not_keep_its_connection(
    serve: Serve, path: str, header: str, count: int, logged: list[MutableMapping[str, Any]]
) -> None:
    large = FakeExposition(raw=[b"x" * WRITE_BYTES] * 100)
    backend = FakeBackend(body=large, config="x" * 250_000)
    server = serve(backend, options={"send_seconds": 0.2})
    with connect(server, receive_buffer=SMALL_BUFFER) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode() * count)
        while not logged:
            assert request(server, "/-/healthy").status == 200
        server.close(WAIT_SECONDS)
    assert [event["event"] for event in logged] == ["client too slow, connection aborted"]


def test_a_slow_client_is_served_for_as_long_as_it_reads(
    serve: Serve, logged: list[MutableMapping[str, Any]]
) -> None:
    def time_passes() -> None:
        loop = asyncio.get_running_loop()
        later = loop.time() - time.monotonic() + 8.0
        loop.time = lambda: time.monotonic() + later  # type: ignore[method-assign] # its clock

    body = FakeExposition(raw=[b"x" * WRITE_BYTES] * 100, on_block=time_passes)
    server = serve(FakeBackend(body=body), options={"send_seconds": 10.0})
    assert len(request(server, "/metrics").body) == 100 * WRITE_BYTES
    assert logged == []


def test_ten_clients_at_once_all_get_the_whole_body(serve: Serve) -> None:
    body = two_forms(b"vb365_up 1\n" * 1000, 300)
    server = serve(FakeBackend(body=body))
    responses: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: responses.append(request(server, "/metrics").body))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert responses == [b"vb365_up 1\n" * 300_000] * 10


def test_the_metrics_can_be_at_another_path(serve: Serve) -> None:
    server = serve(FakeBackend(), telemetry_path="/veeam/metrics")
    assert request(server, "/veeam/metrics").body == b"# body\n"
    assert request(server, "/metrics").status == 404
    assert 'href="./veeam/metrics"' in request(server, "/").text


def test_metrics_at_the_root_replace_the_status_page(serve: Serve) -> None:
    assert request(serve(FakeBackend(), telemetry_path="/"), "/").body == b"# body\n"


@pytest.mark.parametrize("path", ["metrics", "", "/config", "/-/healthy", "/-/reload", "/{name}"])
def test_an_unusable_telemetry_path_is_an_error(path: str) -> None:
    with pytest.raises(WebServerError, match=repr(path)):
        WebApp(FakeBackend(), telemetry_path=path)


def test_the_guard_comes_before_everything_else_on_every_path(serve: Serve) -> None:
    async def requires_password(_request: web.Request) -> web.Response | None:
        return text_response("no\n", status=401, headers={"WWW-Authenticate": "Basic"})

    backend = FakeBackend()
    server = serve(backend, guard=requires_password)
    for path in [*PATHS, "/nothing"]:
        response = request(server, path)
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Basic")
    assert backend.requested == []


def test_a_guard_that_fails_allows_no_request(serve: Serve) -> None:
    async def fails(_request: web.Request) -> web.Response | None:
        raise ValueError

    assert request(serve(FakeBackend(), guard=fails), "/config").status == 500
