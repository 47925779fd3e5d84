"""Bodies of any size: streamed, compressed, or expensive to decode."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Mapping
from functools import lru_cache

from aiohttp import web

_CHUNK = 1 << 20
_SPACES = b" " * _CHUNK
_PAGE_START = b'{"offset":0,"limit":30,"_links":{},"results":['
_PAGE_END = b"]}"


async def stream_spaces(
    request: web.BaseRequest, headers: Mapping[str, str], size: int
) -> web.StreamResponse:
    """Stream JSON that consists of spaces, without a Content-Length."""
    response = web.StreamResponse(headers=dict(headers))
    response.enable_chunked_encoding()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # the client has disconnected
        await response.write(_PAGE_START)
        left = size
        while left > 0:
            await response.write(_SPACES[:left])
            await asyncio.sleep(0)  # lets the loop notice a disconnect
            left -= _CHUNK
        await response.write(_PAGE_END)
        await response.write_eof()
    return response


@lru_cache(maxsize=1)
def packed_spaces(size: int) -> bytes:
    """Return a page of spaces as one gzip member, because a client may refuse several members unread."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    parts = [packer.compress(_PAGE_START)]
    parts += [packer.compress(_SPACES) for _ in range(max(1, size // _CHUNK))]
    return b"".join([*parts, packer.compress(_PAGE_END), packer.flush()])


@lru_cache(maxsize=1)
def odd_json(size: int) -> bytes:
    """Return JSON of many small objects, one of them with a lone surrogate, which strict decoders do not accept."""
    entry = b'{"a":"............"},'
    return b'{"odd":[' + entry * (size // len(entry)) + b'{"a":"\\ud800"}]}'
