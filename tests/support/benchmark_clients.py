"""HTTP clients for benchmarks: of the simulator, of `/metrics`, and a scraper that costs next to nothing."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

_LONGEST_SECONDS = 60.0
_PAUSE_SECONDS = 0.01

_REQUESTS = re.compile(
    r'^vb365_api_requests_total\{code="(\w+)",operation="(\w+)",server="hq"\} (\S+)$', re.MULTILINE
)
# What Prometheus 2.42 sends.
_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
_TIMEOUT_SECONDS = 120.0
_FIRST_READ_BYTES = 1 << 16


class SimulatorControl:
    """Changes the sessions of a simulator through its control endpoints."""

    def __init__(self, address: str, ca_file: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(address, timeout=30, context=context)

    def change(self, **fields: str) -> str:
        """Add a session, or change the one with this id; return the id."""
        return str(self._call("POST", "sessions", fields)["id"])

    def stop_all(self) -> None:
        """Finish all running sessions."""
        for session in self._call("GET", "truth")["sessions"]:
            if session["state"] != "Stopped":
                self.change(id=session["id"], state="Stopped", result="Success")

    def _call(self, method: str, path: str, fields: object = None) -> dict[str, Any]:
        body = None if fields is None else json.dumps(fields)
        self._connection.request(method, f"/_simulator/{path}", body)
        response = self._connection.getresponse()
        document: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(document)
        return document

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class MetricsClient:
    """Reads an exporter's `/metrics` over one connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)

    def text(self) -> str:
        """Return the text exposition."""
        self._connection.request("GET", "/metrics")
        return self._connection.getresponse().read().decode()

    def requests(self) -> Counter[str]:
        """Return the number of API requests by operation."""
        counted: Counter[str] = Counter()
        for _, operation, number in _REQUESTS.findall(self.text()):
            counted[operation] += int(float(number))
        return counted

    def value(self, series: str) -> float | None:
        """Return the value of one series, or None when it is absent."""
        for line in self.text().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return None

    def seconds_until(self, line: re.Pattern[str]) -> float:
        """Return the seconds until a line matches."""
        begun = time.perf_counter()
        while not line.search(self.text()):
            if time.perf_counter() - begun > _LONGEST_SECONDS:
                raise RuntimeError(f"no match within {_LONGEST_SECONDS} s: {line.pattern}")
            time.sleep(_PAUSE_SECONDS)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Scraper:
    """Scrapes one target repeatedly over one connection, as Prometheus does.

    Args:
        address: host:port.
        path: the path to request.
        gzip: whether to accept compression.
        accept: the Accept header.
    """

    def __init__(
        self, address: str, *, path: str = "/metrics", gzip: bool = True, accept: str = _ACCEPT
    ) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        encoding = "Accept-Encoding: gzip\r\n" if gzip else ""
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n{encoding}"
            "User-Agent: Prometheus/2.42.0\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
        ).encode()
        self._socket: socket.socket | None = None
        self._buffer = bytearray(_FIRST_READ_BYTES)
        self.body = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def scrape(self, *, reconnect: bool = False) -> float:
        """Scrape and return the seconds until the whole response has arrived; `reconnect` opens a new connection first.

        Raises:
            RuntimeError: the response is an error or has no known length.
        """
        if reconnect:
            self.close()
        begun = time.perf_counter()
        if self._socket is None:
            self._socket = socket.create_connection(self._address, _TIMEOUT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(self._request)
        self._receive(self._socket)
        return time.perf_counter() - begun

    def _receive(self, connection: socket.socket) -> None:
        got = 0
        while (end := self._buffer.find(b"\r\n\r\n", 0, got)) < 0:
            got += self._read(connection, got)
        head = bytes(self._buffer[:end]).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
            raise RuntimeError(f"scrape failed: {head.splitlines()[0]!r}")
        begin = end + 4
        length = None
        for line in head.splitlines():
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                length = self._read_chunked(connection, got, begin)
                got = begin + length
        if length is None:
            raise RuntimeError("response has neither Content-Length nor Transfer-Encoding")
        self._grow(begin + length)
        while got < begin + length:
            got += self._read(connection, got)
        self.body = memoryview(self._buffer)[begin : begin + length]
        if head.startswith(b"http/1.0"):  # the server closes it
            self.close()

    def _read_chunked(self, connection: socket.socket, got: int, begin: int) -> int:
        """Read a chunked body without decoding it."""
        while not self._buffer.endswith(b"\r\n0\r\n\r\n", 0, got):
            if got == len(self._buffer):
                self._grow(2 * got)
            got += self._read(connection, got)
        return got - begin

    def _read(self, connection: socket.socket, got: int) -> int:
        with memoryview(self._buffer) as view:
            count = connection.recv_into(view[got:])
        if count == 0:
            raise EOFError("connection closed in the middle of the response")
        return count

    def _grow(self, size: int) -> None:
        if len(self._buffer) < size:
            self.body.release()
            self.body = memoryview(b"")
            self._buffer.extend(bytes(size - len(self._buffer)))
