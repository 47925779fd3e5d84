from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from requests.exceptions import ConnectionError as RequestsConnectionError
from simulator.support import Client, Simulate

from exporter.simulator.world.world import World

HEALTH = "/v8/Health"
SHORT_SECONDS = 0.3


@pytest.fixture
def connect(client: Client) -> Iterator[Callable[[], ssl.SSLSocket]]:
    """Opens TLS connections to the simulator."""
    opened = []

    def make() -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(client.simulator.ca_file))
        plain = socket.create_connection(("127.0.0.1", client.simulator.port), timeout=10)
        connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


def request(connection: ssl.SSLSocket, path: str = HEALTH) -> None:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def response_and_end(client: Client) -> tuple[bytes, str]:
    """Return a response and how its TCP connection ended; `ssl` would hide a reset."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(client.simulator.ca_file))
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    data, sent = b"", False
    with socket.create_connection(("127.0.0.1", client.simulator.port), timeout=10) as plain:
        while True:
            try:
                if sent:
                    data += tls.read(65536)
                    continue
                tls.do_handshake()
                tls.write(f"GET {HEALTH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                sent = True
            except ssl.SSLWantReadError:
                pass
            plain.sendall(outgoing.read())
            try:
                received = plain.recv(65536)
            except ConnectionResetError:
                return data, "reset"
            if not received:
                return data, "end"
            incoming.write(received)


def test_refused_connections_are_refused_until_the_fault_is_cleared(client: Client) -> None:
    assert client.get(HEALTH).status_code == 200  # leaves an open connection
    client.simulator.faults.set("connection_refused")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", client.simulator.port), timeout=10)
    with pytest.raises(RequestsConnectionError):
        client.get(HEALTH)

    client.simulator.faults.clear()
    assert client.get(HEALTH).status_code == 200


def test_refusing_connections_can_be_sent_for_over_http(client: Client) -> None:
    response = client.request("POST", "/_simulator/faults", json={"name": "connection_refused"})

    assert response.status_code == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", client.simulator.port), timeout=10)


def test_a_fault_set_before_the_start_is_there_from_the_start(simulate: Simulate) -> None:
    client = simulate()
    client.simulator.close()
    client.simulator.faults.set("tls_expired")
    client.simulator.start()
    client.http.verify = str(client.simulator.ca_file)
    with pytest.raises(requests.exceptions.SSLError, match="expired"):
        client.get(HEALTH)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("tls_expired", "certificate has expired"),
        ("tls_wrong_host", "not valid for '127.0.0.1'"),
        ("tls_unknown_ca", "unable to get local issuer certificate"),
    ],
)
def test_a_wrong_certificate_is_shown_to_every_new_connection(
    client: Client, fault: str, message: str
) -> None:
    assert client.get(HEALTH).status_code == 200
    client.simulator.faults.set(fault)
    with pytest.raises(requests.exceptions.SSLError, match=message):
        client.get(HEALTH)

    client.simulator.faults.clear()
    assert client.get(HEALTH).status_code == 200


def test_a_wrong_certificate_can_be_shown_once(
    client: Client, connect: Callable[[], ssl.SSLSocket]
) -> None:
    client.simulator.faults.set("tls_unknown_ca", first=1)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect()

    assert connect().version()


def test_a_client_that_does_not_verify_is_served_with_the_expired_certificate(
    client: Client,
) -> None:
    client.simulator.faults.set("tls_expired")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", client.simulator.port), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        request(connection)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_handshake_that_hangs_is_never_answered(
    client: Client, connect: Callable[[], ssl.SSLSocket]
) -> None:
    client.simulator.faults.set("tls_handshake_hangs")
    with socket.create_connection(("127.0.0.1", client.simulator.port)) as plain:
        plain.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            ssl.create_default_context().wrap_socket(plain, server_hostname="x")

    client.simulator.faults.clear()
    assert connect().version()


def test_a_reset_before_the_body_comes_after_the_headers(client: Client) -> None:
    client.simulator.faults.set("reset_before_body")
    data, end = response_and_end(client)

    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\n")
    assert re.search(rb"Content-Length: [1-9]", data)
    assert end == "reset"


def test_a_reset_in_the_body_comes_after_half_of_it(client: Client) -> None:
    whole = client.get(HEALTH).content
    client.simulator.faults.set("reset_in_body")
    data, end = response_and_end(client)

    assert data.partition(b"\r\n\r\n")[2] == whole[: len(whole) // 2]
    assert end == "reset"


def test_interim_responses_come_before_the_normal_one(
    client: Client, connect: Callable[[], ssl.SSLSocket]
) -> None:
    client.simulator.faults.set("interim_responses", value=2)
    connection = connect()
    request(connection)
    data = b""
    while b"HTTP/1.1 200 OK\r\n" not in data:
        data += connection.recv(65536)

    assert re.findall(rb"HTTP/1.1 ([0-9]+)", data) == [b"103", b"102", b"200"]


def test_silence_keeps_the_connection_open_without_a_response(
    client: Client, connect: Callable[[], ssl.SSLSocket]
) -> None:
    client.simulator.faults.set("silence")
    connection = connect()
    request(connection)
    connection.settimeout(SHORT_SECONDS)
    with pytest.raises(TimeoutError):
        connection.recv(1)

    assert client.simulator.requests["GET", "health"] == 1


@pytest.mark.parametrize(
    ("fault", "slow_head", "slow_body"),
    [
        ("one_byte_per_second", True, True),
        ("slow_headers", True, False),
        ("slow_body", False, True),
    ],
)
def test_bytes_are_sent_one_by_one(
    client: Client,
    connect: Callable[[], ssl.SSLSocket],
    fault: str,
    slow_head: bool,  # noqa: FBT001 - pytest passes it by name
    slow_body: bool,  # noqa: FBT001 - the same
) -> None:
    right = client.get(HEALTH).content
    client.simulator.faults.set(fault, value=0.0001)
    connection = connect()
    request(connection)
    pieces = list(iter(lambda: connection.recv(65536), b""))  # one for each write
    head, end, body = b"".join(pieces).partition(b"\r\n\r\n")
    length = len(head + end)

    assert body == right
    assert [len(piece) for piece in pieces] == [
        *([1] * length if slow_head else [length]),
        *([1] * len(body) if slow_body else [len(body)]),
    ]


def test_by_default_a_byte_takes_a_second(
    client: Client, connect: Callable[[], ssl.SSLSocket]
) -> None:
    client.simulator.faults.set("slow_headers")
    connection = connect()
    started = time.monotonic()
    request(connection)

    received = b""
    while len(received) < 3:
        received += connection.recv(1)
    assert received == b"HTT"
    assert time.monotonic() - started >= 2.0


def test_the_normal_response_is_delayed(client: Client) -> None:
    started = time.monotonic()
    client.simulator.faults.set("slower_than_timeout", value=SHORT_SECONDS)

    assert client.json(HEALTH)["status"] == "Healthy"
    assert time.monotonic() - started >= SHORT_SECONDS


def test_the_default_delay_exceeds_a_timeout_of_10_s(client: Client) -> None:
    client.simulator.faults.set("slower_than_timeout")
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.request("GET", HEALTH, timeout=SHORT_SECONDS)

    assert client.simulator.faults.active()[0].value > 10


def test_the_control_endpoint_is_unaffected(client: Client, world: World) -> None:
    client.simulator.faults.set("silence")
    world.add_session()

    assert len(client.json("/_simulator/truth")["sessions"]) == 1
