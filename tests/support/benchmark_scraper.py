"""A client that costs next to nothing, so that what is measured is the server."""

from __future__ import annotations

import socket
import time
from typing import Self

# What Prometheus 2.42 sends.
_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
_TIMEOUT_SECONDS = 120.0
_FIRST_READ_BYTES = 1 << 16


class Scraper:
    """Scrapes one target again and again by one connection, as Prometheus does.

    Args:
        address: host:port.
        path: what is asked for.
        gzip: whether it asks for compression.
        accept: the formats it asks for.
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
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def scrape(self, *, anew: bool = False) -> float:
        """Seconds until the whole answer is there; `anew` by a connection of its own.

        Raises:
            RuntimeError: the answer is no success, or not whole.
        """
        if anew:
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
            raise RuntimeError(f"the scrape was answered by {head.splitlines()[0]!r}")
        begin = end + 4
        length = None
        for line in head.splitlines():
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                length = self._to_the_last_chunk(connection, got, begin)
                got = begin + length
        if length is None:
            raise RuntimeError("nothing tells where the answer ends")
        self._grow(begin + length)
        while got < begin + length:
            got += self._read(connection, got)
        self.body = memoryview(self._buffer)[begin : begin + length]
        if head.startswith(b"http/1.0"):  # the server closes it
            self.close()

    def _to_the_last_chunk(self, connection: socket.socket, got: int, begin: int) -> int:
        """Read a body in chunks, which stay as they are: nobody looks at it."""
        while not self._buffer.endswith(b"\r\n0\r\n\r\n", 0, got):
            if got == len(self._buffer):
                self._grow(2 * got)
            got += self._read(connection, got)
        return got - begin

    def _read(self, connection: socket.socket, got: int) -> int:
        with memoryview(self._buffer) as view:
            count = connection.recv_into(view[got:])
        if count == 0:
            raise EOFError("the answer was broken off")
        return count

    def _grow(self, size: int) -> None:
        if len(self._buffer) < size:
            self.body.release()
            self.body = memoryview(b"")
            self._buffer.extend(bytes(size - len(self._buffer)))
