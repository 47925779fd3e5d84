"""A backend with fixed data, and clients that see every byte."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from exporter.metrics.text_format import Format
from exporter.web.listeners import Address
from exporter.web.server import WebServer
from exporter.web.status.page import StatusPage
from exporter.web.tls import TLSSource

WAIT_SECONDS = 10.0
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class FakeExposition:
    """A body in its two forms; `on_block` is called before each block."""

    raw: list[bytes]
    gzipped: list[bytes] = field(default_factory=list)
    length: int | None = None
    on_block: Callable[[], None] = lambda: None

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - as in the protocol
        return sum(map(len, self._form(gzip))) if self.length is None else self.length

    def chunks(self, gzip: bool) -> Iterable[bytes]:  # noqa: FBT001 - as in the protocol
        for block in self._form(gzip):
            self.on_block()
            yield block

    def _form(self, gzip: bool) -> list[bytes]:  # noqa: FBT001 - as in the protocol
        return self.gzipped if gzip else self.raw


EMPTY_PAGE = StatusPage(version="1.2.3", generated=NOON, servers=())


@dataclass
class FakeBackend:
    """The data that a test chooses; an exception is raised instead of returned."""

    body: FakeExposition | Exception = field(default_factory=lambda: FakeExposition([b"# body\n"]))
    unhealthy: Sequence[str] = ()
    unready: Sequence[str] = ()
    config: str = "servers: []\n"
    page: StatusPage = EMPTY_PAGE
    requested: list[Format] = field(default_factory=list)

    def exposition(self, wanted: Format) -> FakeExposition:
        self.requested.append(wanted)
        if isinstance(self.body, Exception):
            raise self.body
        return self.body

    def health_problems(self) -> Sequence[str]:
        return self.unhealthy

    def readiness_problems(self) -> Sequence[str]:
        return self.unready

    def config_text(self) -> str:
        return self.config

    def status(self) -> StatusPage:
        return self.page


@dataclass(frozen=True)
class Response:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def request(
    server: WebServer,
    path: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Send a request over a new connection."""
    connection = http.client.HTTPConnection(*loopback(server), timeout=WAIT_SECONDS)
    with contextlib.closing(connection):
        return request_over(connection, path, method=method, headers=headers)


def request_over(
    connection: http.client.HTTPConnection,
    path: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Send a request over an open connection, with no headers but those given."""
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    return Response(response.status, dict(response.getheaders()), response.read())


def always(context: ssl.SSLContext) -> TLSSource:
    """Return the same TLS context for every connection."""

    async def tls() -> ssl.SSLContext:
        return context

    return tls


def loopback(server: WebServer) -> Address:
    """Return the loopback address of the server's first listener."""
    address = server.addresses[0]
    return address._replace(host="127.0.0.1") if address.host in {"::", "0.0.0.0"} else address  # noqa: S104 - compares


def connect(server: WebServer, *, receive_buffer: int | None = None) -> socket.socket:
    """Open a bare connection; a small receive buffer makes a slow client."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.enter_context(client)
        client.settimeout(WAIT_SECONDS)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(loopback(server))
        undo.pop_all()
    return client


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes; fail when it does not within `WAIT_SECONDS`."""
    received = []
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while data := client.recv(1 << 20):
            received.append(data)
    return b"".join(received)


def read_until(client: socket.socket, ending: bytes) -> bytes:
    """Read until these bytes have come; fail when they do not within `WAIT_SECONDS`."""
    received = b""
    while not received.endswith(ending):
        data = client.recv(1 << 16)
        assert data, received
        received += data
    return received


def exchange(server: WebServer, data: bytes) -> bytes:
    """Send bytes; return everything received until the server closes."""
    with connect(server) as client:
        client.sendall(data)
        return read_all(client)


def taken_bytes(client: socket.socket, data: bytes, most: int) -> int:
    """Send the same bytes again and again; return how many were taken before the client had to wait for long.

    Args:
        client: the connection.
        data: the bytes.
        most: the number of bytes after which to stop; the answer is then at least this.
    """
    client.settimeout(1.0)
    taken = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        while taken < most:
            taken += client.send(data)
    return taken
