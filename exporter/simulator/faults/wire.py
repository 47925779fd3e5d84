"""Responses written straight to the transport: cut off by a reset, or sent byte by byte."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

_SECONDS_TO_READ = 0.1  # a reset discards what the client has not read yet


def http_date(seconds_from_now: float) -> str:
    """Return the date for a header."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds_from_now), usegmt=True)


def split(response: web.Response) -> tuple[bytes, bytes]:
    """Return the head and body of a response as bytes on the wire, with `Connection: close`."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


def write_interim(request: web.BaseRequest, responses: int) -> None:
    """Write interim responses, to be followed by the normal one on the same connection."""
    if request.transport is not None:
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
        processing = b"HTTP/1.1 102 Processing\r\n\r\n"
        request.transport.write(hints + processing * (responses - 1))


async def write_and_reset(request: web.BaseRequest, data: bytes) -> web.Response:
    """Write the data, give the client time to read it, then reset the connection."""
    if request.transport is not None:
        request.transport.write(data)
        await asyncio.sleep(_SECONDS_TO_READ)
        abort_with_reset(request.transport)
    return web.Response()  # never sent


async def drip(
    request: web.BaseRequest, before: bytes, slowly: bytes, after: bytes, seconds_per_byte: float
) -> web.Response:
    """Write `before` at once, `slowly` byte by byte and `after` at once, then close the connection."""
    transport = request.transport
    if transport is not None:
        transport.write(before)
        for position in range(len(slowly)):
            transport.write(slowly[position : position + 1])
            await asyncio.sleep(seconds_per_byte)
        transport.write(after)
        transport.close()
    return web.Response()  # never sent


def abort_with_reset(transport: asyncio.Transport) -> None:
    """Close the connection with a RST, which a socket with a zero linger time sends."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
