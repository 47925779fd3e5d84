"""Answers that go over the wire in their own way: cut off by a reset, or byte after byte."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

_SECONDS_TO_READ = 0.1  # a reset overtakes what the client has not read yet


def http_date(seconds_from_now: float) -> str:
    """The date of a header."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds_from_now), usegmt=True)


def split(response: web.Response) -> tuple[bytes, bytes]:
    """The response's head and body as they would go over the wire, for this one exchange only."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {
        **response.headers,
        "Content-Length": str(len(body)),
        "Date": http_date(0),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


async def write_and_reset(request: web.BaseRequest, data: bytes) -> web.Response:
    """Write what there is, let the client read it, then reset the connection."""
    if request.transport is not None:
        request.transport.write(data)
        await asyncio.sleep(_SECONDS_TO_READ)
        abort_with_reset(request.transport)
    return web.Response()  # goes nowhere


async def drip(
    request: web.BaseRequest, before: bytes, slowly: bytes, after: bytes, seconds_per_byte: float
) -> web.Response:
    """Write `before` at once, `slowly` byte after byte, `after` at once, and close the connection."""
    transport = request.transport
    if transport is not None:
        transport.write(before)
        for position in range(len(slowly)):
            transport.write(slowly[position : position + 1])
            await asyncio.sleep(seconds_per_byte)
        transport.write(after)
        transport.close()
    return web.Response()  # goes nowhere


def abort_with_reset(transport: asyncio.Transport) -> None:
    """Close the connection with RST: that is what closing a socket that must not linger sends."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
