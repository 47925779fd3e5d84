"""Clocks, observers and servers that the tests of this folder share."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import responses

from exporter.config.model import AuthConfig, ServerConfig, TLSConfig
from exporter.config.secrets import SecretSource
from exporter.vb365.errors import Vb365Error
from exporter.vb365.http.transport import Request as RequestToSend
from exporter.vb365.http.transport import Transport

URL = "https://vb365.example.com:4443"
PASSWORD = "p+w&d=%ü"
ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
OTHER_ID = "450b6045-1c59-4788-9f32-fa15b8c7c5ba"
TOKEN_RESPONSE = {
    "access_token": "access-1",
    "token_type": "bearer",
    "expires_in": 3600,
    "refresh_token": "refresh-1",
}


def session(session_id: str = ID) -> dict[str, object]:
    """Return a restore session as the API represents it."""
    return {
        "id": session_id,
        "organization": "abc.onmicrosoft.com",
        "type": "Vex",
        "creationTime": "2022-02-22T15:40:25.1612392Z",
        "endTime": "2022-02-22T16:40:26.8586977Z",
        "state": "Stopped",
        "result": "Success",
    }


def config(
    url: str = URL,
    *,
    secret: SecretSource | None = None,
    token: bool = False,
    tls: TLSConfig | None = None,
    **rest: object,
) -> ServerConfig:
    """Return the configuration of a server."""
    source = secret or SecretSource(value=PASSWORD)
    auth = (
        AuthConfig(token=source) if token else AuthConfig(username=r"CONTOSO\svc", password=source)
    )
    fields: dict[str, object] = {"name": "hq", "url": url, "auth": auth, "api_version": "v7"}
    # A mocked server has no certificate, and reading the system's trust store takes longer than everything else.
    trust = tls or TLSConfig(insecure_skip_verify=True)
    return ServerConfig.model_validate(fields | {"tls_config": trust} | rest)


class FakeTime:
    """A clock that only advances during waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.stopped = False

    def clock(self) -> float:
        """Return monotonic seconds."""
        return self.now

    def wait(self, seconds: float) -> bool:
        """Advance the clock; return True when stopped."""
        self.waits.append(seconds)
        if not self.stopped:
            self.now += seconds
        return self.stopped


@dataclass
class Recorder:
    """An observer that records its calls."""

    requests: list[tuple[str, str]] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)

    def request(self, operation: str, code: str, seconds: float) -> None:
        """Record a request."""
        assert seconds >= 0
        self.requests.append((operation, code))

    def retry(self, operation: str) -> None:
        """Record a retry."""
        self.retries.append(operation)


class Server:
    """A server on 127.0.0.1 that runs `talk` in a thread for each connection."""

    def __init__(self, talk: Callable[[Connection], None], context: ssl.SSLContext | None) -> None:
        self._talk = talk
        self.context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.over = threading.Event()
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End all connections and threads."""
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            # Otherwise a response waits 40 ms for the client's acknowledgement of the handshake.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._sockets.append(sock)
        with sock, contextlib.suppress(OSError):
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            self._talk(Connection(self, sock))


class Connection:
    """One connection of a server, from the server's side."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self._received = b""

    def request(self) -> Request | None:
        """Receive the next request; return None when the client has closed the connection."""
        while b"\r\n\r\n" not in self._received:
            if not (data := self.sock.recv(65536)):
                return None
            self._received += data
        head, _, rest = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            rest += self.sock.recv(65536)
        self._received = rest[length:]
        method, target, _ = first.split(" ")
        return Request(method, target, headers, rest[:length])

    def send(self, data: bytes) -> None:
        """Send bytes unchanged."""
        self.sock.sendall(data)

    def drip(self, data: bytes, *, every_seconds: float) -> None:
        """Send byte by byte, slowly, until the server is closed."""
        for i in range(len(data)):
            self.send(data[i : i + 1])
            if self.server.over.wait(every_seconds):
                return

    def wait(self) -> None:
        """Stay silent until the server is closed."""
        self.server.over.wait()


@dataclass(frozen=True)
class Request:
    """A request that a server received."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def http(
    body: bytes = b"{}", *, status: str = "200 OK", length: bool = True, headers: str = ""
) -> bytes:
    """Return the bytes of a response."""
    sized = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"HTTP/1.1 {status}\r\n{sized}{headers}\r\n".encode() + body


@dataclass(frozen=True)
class Certificates:
    """A certificate authority and the certificates it issues, as files."""

    folder: Path
    ca_file: Path
    issue: Callable[..., ssl.SSLContext]
    """Server context for names, as trustme's `issue_cert` takes them."""
    issue_client: Callable[[], tuple[Path, Path]]
    """Certificate and key file for a client."""


def requested(api: responses.RequestsMock, path: str = "") -> list[str]:
    """Return method and target of all requests, or of those whose path ends with `path`."""
    calls = [(call.request.method, urlsplit(call.request.url or "")) for call in api.calls]
    return [
        f"{method} {url.path}{url.query and '?'}{url.query}"
        for method, url in calls
        if url.path.endswith(path)
    ]


def forms(api: responses.RequestsMock) -> list[dict[str, str]]:
    """Return the forms sent to the token endpoint."""
    bodies = [call.request.body for call in api.calls if call.request.method == "POST"]
    return [dict(parse_qsl(body)) for body in bodies if isinstance(body, str)]


def token_response(number: int, **fields: object) -> dict[str, object]:
    """Return the token endpoint's response number `number`."""
    return TOKEN_RESPONSE | {
        "access_token": f"access-{number}",
        "refresh_token": f"refresh-{number}",
        **fields,
    }


def bearer(request: requests.PreparedRequest) -> str:
    """Return the bearer token of a request."""
    return str(request.headers.get("Authorization", "")).removeprefix("Bearer ")


GET = RequestToSend(operation="get", target="/v7/x?y=1")


def responding_with(*responses: bytes) -> Callable[[Connection], None]:
    """Return a `talk` that sends these responses to the requests of a connection, the last one repeatedly."""

    def talk(connection: Connection) -> None:
        number = 0
        while connection.request() is not None:
            connection.send(responses[min(number, len(responses) - 1)])
            number += 1

    return talk


def failure(client: Transport, request: RequestToSend = GET) -> Vb365Error:
    with pytest.raises(Vb365Error) as caught:
        client.exchange(request)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(caught.value).isprintable()
    return caught.value
