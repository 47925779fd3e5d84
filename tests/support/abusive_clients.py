"""Clients that a web server should not suffer from: `python -m support.abusive_clients KIND NUMBER HOST:PORT`.

A process of its own, so that its work does not delay what is measured in another one. It writes `ready` when every
client has had its first go, ends when its standard input does, and then writes how long the server let the most patient
one hold a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

_COME_BACK_SECONDS = (1.0, 3.0)
_ODD_REQUESTS = (
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


class Abusers:
    """A number of clients of one kind; each comes back some seconds after the server has closed its connection."""

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number = number
        self.longest_seconds = 0.0
        self._host = host
        self._port = port
        self._fresh = number
        first, last = _COME_BACK_SECONDS
        self._pauses = itertools.cycle(
            first + (last - first) * client / number for client in range(number)
        )
        self._all_here = asyncio.Event()

    async def silent(self, beginning: bytes = b"", context: ssl.SSLContext | None = None) -> None:
        """Hold a connection, with the beginning of a request or without."""
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
                since = time.monotonic()
                writer.write(beginning)
                self._is_here()
                with suppress(OSError):
                    await reader.read()
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - since)
                writer.close()
            await asyncio.sleep(next(self._pauses))

    async def ask(
        self, requests: tuple[bytes, ...], pause: float, context: ssl.SSLContext | None = None
    ) -> None:
        """Send one request after the other, each by a connection of its own, and read what comes."""
        for request in itertools.cycle(requests):
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
                writer.write(request)
                with suppress(OSError, TimeoutError):
                    await asyncio.wait_for(reader.read(1 << 16), pause)
                writer.close()
            self._is_here()
            await asyncio.sleep(pause)

    def _is_here(self) -> None:
        self._fresh -= 1
        if self._fresh == 0:
            self._all_here.set()

    async def run(self, client: Callable[[], Awaitable[None]]) -> None:
        """Let every client do what it does until standard input ends."""
        tasks = [asyncio.ensure_future(client()) for _ in range(self.number)]
        await self._all_here.wait()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        sys.stdout.write(f"{self.longest_seconds}\n")


Client: TypeAlias = Callable[[], Awaitable[None]]


def _kinds(abusers: Abusers) -> dict[str, Client]:
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    guesses = tuple(
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic "
        + base64.b64encode(f"alice:{number}".encode())
        + b"\r\n\r\n"
        for number in range(100_000)
    )
    return {
        "silent": abusers.silent,
        "half-sent": lambda: abusers.silent(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/"),
        "silent-after-handshake": lambda: abusers.silent(context=anybody),
        "odd": lambda: abusers.ask(_ODD_REQUESTS, 0.1),
        "guessing": lambda: abusers.ask(guesses, 0.2, anybody),
    }


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("number", type=int)
    parser.add_argument("address")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    abusers = Abusers(options.number, host, int(port))
    await abusers.run(_kinds(abusers)[options.kind])


if __name__ == "__main__":
    asyncio.run(_main())
