"""The whole client against a server that speaks TLS."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from vb365.support import (
    ID,
    OTHER_ID,
    TOKEN_RESPONSE,
    Certificates,
    Connection,
    Recorder,
    Request,
    Server,
    config,
    http,
    session,
    token_response,
)

from exporter.config.model import TLSConfig
from exporter.vb365.client import Client
from exporter.vb365.errors import AuthError, StoppedError
from exporter.vb365.records.restore_session import RestoreSession

Serve = Callable[..., Server]
ClientOf = Callable[..., Client]


@pytest.fixture
def client_of(
    observer: Recorder, stop: threading.Event, certificates: Certificates
) -> Iterator[ClientOf]:
    """Make clients in real time that trust the tests' certificate authority."""
    clients = []

    def make(server: Server, **fields: object) -> Client:
        tls = TLSConfig(ca_file=certificates.ca_file)
        settings = config(server.url, tls=tls, **fields)  # type: ignore[arg-type]  # passed on
        client = Client(settings, observer=observer, stop=stop)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def api(respond: Callable[[Request], bytes | None]) -> Callable[[Connection], None]:
    """Return a server with a token endpoint; `respond` handles all other requests, and None stays silent."""

    def talk(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            if request.target.lower().endswith("/token"):
                connection.send(http(json.dumps(TOKEN_RESPONSE).encode()))
            elif (data := respond(request)) is not None:
                connection.send(data)
            else:
                connection.wait()

    return talk


def test_a_client_detects_the_version_logs_in_fetches_and_logs_out(
    serve: Serve, client_of: ClientOf, observer: Recorder
) -> None:
    requested = []

    def respond(request: Request) -> bytes:
        requested.append(f"{request.method} {request.target}")
        known = request.headers.get("authorization") == "Bearer access-1"
        if not request.target.startswith("/v7"):
            return http(b"<html>", status="404 Not Found")
        if not known:
            return http(b"", status="401 Unauthorized")
        if request.target.endswith("/ServiceInstance"):
            return http(b'{"version":"7.1.0.1401","installationId":"x"}')
        if request.target.endswith(f"/{OTHER_ID}"):
            return http(json.dumps(session(OTHER_ID)).encode())
        if request.target.endswith("/logout"):
            return http(b"", status="204 No Content", length=False)
        results = {"offset": 0, "limit": 1000, "results": [session(), session(OTHER_ID)]}
        packed = gzip.compress(json.dumps(results).encode())
        return http(packed, headers="Content-Encoding: gzip\r\n")

    client = client_of(serve(api(respond)), api_version="auto")
    with client.retrying_until(deadline=time.monotonic() + 60):
        assert client.product_version() == "7.1.0.1401"
        (page,) = client.list_sessions(created_since=None)
        other = client.get_session(OTHER_ID)
    assert [each.id for each in page.sessions] == [ID, OTHER_ID]
    assert isinstance(other, RestoreSession)
    assert client.api_version == "v7"
    assert client.certificate_not_after is not None
    client.close()
    assert requested == [
        "GET /v8/ServiceInstance",
        "GET /v7/ServiceInstance",
        "GET /v7/ServiceInstance",
        "GET /v7/RestoreSessions?offset=0&limit=1000",
        f"GET /v7/RestoreSessions/{OTHER_ID}",
        "POST /v7/token/logout",
    ]
    assert observer.requests == [
        ("service_instance", "404"),
        ("service_instance", "401"),
        ("token", "200"),
        ("service_instance", "200"),
        ("list", "200"),
        ("get", "200"),
        ("token", "204"),
    ]


def test_closing_aborts_requests_under_way_and_still_logs_out(
    serve: Serve, client_of: ClientOf
) -> None:
    threads = 4
    arrived = threading.Barrier(threads + 1)
    logouts = 0

    def respond(request: Request) -> bytes | None:
        nonlocal logouts
        if request.target.endswith("/logout"):
            logouts += 1
            return http()
        if request.target.endswith(OTHER_ID):
            return http(json.dumps(session(OTHER_ID)).encode())
        arrived.wait(10)
        return None

    client = client_of(serve(api(respond)), timeout=30.0)
    client.get_session(OTHER_ID)
    with ThreadPoolExecutor(threads) as pool:
        outcomes = [pool.submit(client.get_session, ID) for _ in range(threads)]
        arrived.wait(10)
        client.close()
        errors = [outcome.exception(10) for outcome in outcomes]
    assert [type(error) for error in errors] == [StoppedError] * threads
    assert logouts == 1


def test_requests_that_were_stopped_do_not_make_the_server_look_unreachable(
    serve: Serve, client_of: ClientOf, stop: threading.Event
) -> None:
    arrived = threading.Event()
    logouts = 0

    def respond(request: Request) -> bytes | None:
        nonlocal logouts
        if request.target.endswith("/logout"):
            logouts += 1
            return http()
        arrived.set()
        return None

    client = client_of(serve(api(respond)))
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(client.get_session, ID)
        assert arrived.wait(10)
        stop.set()
        assert isinstance(outcome.exception(10), StoppedError)
    client.close()
    assert logouts == 1


def test_a_stop_event_ends_a_wait_before_a_retry(
    serve: Serve, client_of: ClientOf, stop: threading.Event
) -> None:
    def respond(_request: Request) -> bytes:
        stop.set()
        return http(b"", status="429 Too Many", headers="Retry-After: 50\r\n")

    client = client_of(serve(api(respond)))
    with client.retrying_until(deadline=time.monotonic() + 60), pytest.raises(StoppedError):
        client.get_session(ID)


def test_a_password_refused_to_one_client_is_not_tried_by_the_next_one(
    serve: Serve, client_of: ClientOf
) -> None:
    tries = 0

    def talk(connection: Connection) -> None:
        nonlocal tries
        while connection.request() is not None:
            tries += 1
            connection.send(http(b'{"error":"invalid_grant"}', status="400 Bad Request"))

    server = serve(talk)
    first, second = client_of(server), client_of(server)
    for client in (first, second):
        with pytest.raises(AuthError, match="next try in 60 s"):
            client.get_session(ID)
    assert tries == 1


def test_later_requests_use_the_renewed_token(serve: Serve, client_of: ClientOf) -> None:
    numbers = iter(range(1, 100))
    newest = 0

    def talk(connection: Connection) -> None:
        nonlocal newest
        while (request := connection.request()) is not None:
            if request.target.endswith("/token"):
                newest = next(numbers)
                connection.send(http(json.dumps(token_response(newest)).encode()))
                continue
            found = re.fullmatch(r"Bearer access-(\d+)", request.headers["authorization"])
            assert found
            if newest == 1 or int(found[1]) != newest:
                connection.send(http(b"", status="401 Unauthorized"))
            else:
                connection.send(http(json.dumps(session()).encode()))

    client = client_of(serve(talk))
    with client.retrying_until(deadline=time.monotonic() + 60):
        for _ in range(3):
            assert isinstance(client.get_session(ID), RestoreSession)
    assert newest == 2
