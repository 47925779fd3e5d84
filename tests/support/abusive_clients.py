"""Misbehaving clients that a web server must withstand: `python -m support.abusive_clients KIND NUMBER HOST:PORT`.

They run in a process of their own, so that their work does not distort measurements elsewhere. The program writes `ready`
once every client has made its first attempt, and ends when its standard input does; then it writes the longest time in
seconds for which the server let a client hold a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

FLOODS = (
    "one-byte-chunks",
    "chunks",
    "upgrade",
    "pipelining",
    "large-pipelined",
    "headers-without-end",
    "reads-nothing",
    "config-unread",
)
"""The kinds that send without end, or read nothing."""

_RECONNECT_SECONDS = (1.0, 3.0)
_MALFORMED_REQUESTS = (
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nAccept: version=abc;q=x,;\xff\r\n\r\n",
    b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=;;,\xff\r\n\r\n",
    b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    b"GET /-/healthy HTTP/1.0\r\n\r\n",
    b"GET /-/healthy HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, perhaps\r\n\r\n",
)


@contextmanager
def abusive_clients(kind: str, address: str, number: int = 40) -> Iterator[None]:
    """Run clients of a kind, in a process of their own, against the web server at an address."""
    command = [sys.executable, "-m", "support.abusive_clients", kind, str(number), address]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


class AbusiveClients:
    """Clients of one kind, each of which reconnects some seconds after the server has closed its connection."""

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number = number
        self.longest_seconds = 0.0
        self._host = host
        self._port = port
        self._unconnected = number
        self._names = itertools.count()
        first, last = _RECONNECT_SECONDS
        self._pauses = itertools.cycle(
            first + (last - first) * client / number for client in range(number)
        )
        self._all_connected = asyncio.Event()

    async def silent(
        self, request_start: bytes = b"", context: ssl.SSLContext | None = None
    ) -> None:
        """Hold a connection open, optionally after the start of a request."""
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
                since = time.monotonic()
                writer.write(request_start)
                self._mark_connected()
                with suppress(OSError):
                    await reader.read()
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - since)
                writer.close()
            await asyncio.sleep(next(self._pauses))

    async def send(
        self, requests: tuple[bytes, ...], pause: float, context: ssl.SSLContext | None = None
    ) -> None:
        """Send one request after another, each over its own connection, and read the response."""
        for request in itertools.cycle(requests):
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
                writer.write(request)
                with suppress(OSError, TimeoutError):
                    await asyncio.wait_for(reader.read(1 << 16), pause)
                writer.close()
            self._mark_connected()
            await asyncio.sleep(pause)

    async def flood(
        self, head: bytes, endless: bytes = b"", context: ssl.SSLContext | None = None
    ) -> None:
        """Send the start of a request and then the same bytes for as long as the server takes them; read nothing."""
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
                since = time.monotonic()
                writer.write(head)
                self._mark_connected()
                with suppress(OSError):
                    while not writer.is_closing():
                        writer.write(endless)
                        await writer.drain()
                        await asyncio.sleep(0 if endless else 0.1)
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - since)
                writer.transport.abort()
            await asyncio.sleep(0.1)

    async def guess(self, context: ssl.SSLContext | None = None) -> None:
        """Send one password after another, each as soon as the response to the last has arrived."""
        name = next(self._names)
        for number in itertools.count():
            credentials = base64.b64encode(f"alice:{name}-{number}".encode())
            request = (
                b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic "
                + credentials
                + b"\r\n\r\n"
            )
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
                writer.write(request)
                self._mark_connected()
                with suppress(OSError):
                    await reader.read()
                writer.close()

    def _mark_connected(self) -> None:
        self._unconnected -= 1
        if self._unconnected == 0:
            self._all_connected.set()

    async def run(self, client: Callable[[], Awaitable[None]]) -> None:
        """Run all clients until standard input ends."""
        tasks = [asyncio.ensure_future(client()) for _ in range(self.number)]
        await self._all_connected.wait()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        sys.stdout.write(f"{self.longest_seconds}\n")


Client: TypeAlias = Callable[[], Awaitable[None]]


def _kinds(clients: AbusiveClients) -> dict[str, Client]:
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    chunked = b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    upgrade = (
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    whole = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    header = b"X: " + b"a" * 8000 + b"\r\n"
    attacks = {
        "one-byte-chunks": (chunked, b"1\r\na\r\n" * 10_000),
        "chunks": (chunked, b"10000\r\n" + b"a" * 0x10000 + b"\r\n"),
        "upgrade": (upgrade, b"a" * 0x10000),
        "pipelining": (b"", whole * 1000),
        "large-pipelined": (b"", (whole[:-2] + header * 3 + b"\r\n") * 3),
        "headers-without-end": (whole[:-2] + header * 60, b""),
        "reads-nothing": (whole, b""),
        "config-unread": (whole.replace(b"/metrics", b"/config") * 50, b""),
    }
    guesses = tuple(
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic "
        + base64.b64encode(f"alice:{number}".encode())
        + b"\r\n\r\n"
        for number in range(100_000)
    )
    return {
        "silent": clients.silent,
        "half-sent": lambda: clients.silent(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/"),
        "silent-after-handshake": lambda: clients.silent(context=unverified),
        "malformed": lambda: clients.send(_MALFORMED_REQUESTS, 0.1),
        "guessing": lambda: clients.send(guesses, 0.2, unverified),
        "tls-guessers": lambda: clients.guess(unverified),
        "guessers": clients.guess,
        **{name: partial(clients.flood, *sent) for name, sent in attacks.items()},
        **{
            f"tls-{name}": partial(clients.flood, *sent, unverified)
            for name, sent in attacks.items()
        },
    }


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("number", type=int)
    parser.add_argument("address")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    clients = AbusiveClients(options.number, host, int(port))
    await clients.run(_kinds(clients)[options.kind])


if __name__ == "__main__":
    asyncio.run(_main())
