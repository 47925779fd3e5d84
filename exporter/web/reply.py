"""Text responses, and the streaming of large ones in bounded memory."""

from __future__ import annotations

import http
from collections.abc import Iterable, Iterator, Mapping

import structlog
from aiohttp import web

log = structlog.get_logger()

# Large enough for few system calls per scrape, and below 128 KiB: glibc maps larger blocks from the
# system for each write, which doubles the time of a scrape. Each slow client holds about one block.
WRITE_BYTES = 112 * 1024


def text_response(
    text: str,
    *,
    status: int = 200,
    content_type: str = "text/plain; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a text response; what UTF-8 cannot encode (lone surrogates) is sent as `?`."""
    return web.Response(
        status=status,
        headers={**(headers or {}), "Content-Type": content_type},
        body=text.encode("utf-8", "replace"),
    )


def error_response(status: int, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error response that has only the status code and its phrase."""
    phrase = http.HTTPStatus(status).phrase
    return text_response(f"{status} {phrase}\n", status=status, headers=headers)


async def stream(
    request: web.BaseRequest, response: web.StreamResponse, blocks: Iterable[bytes]
) -> web.StreamResponse:
    """Send a response while holding at most one write of its body in memory.

    Abort the connection on any error, and if the body does not have the announced length, so that no
    client mistakes a part for the whole.

    Args:
        request: the request; the response to HEAD has no body.
        response: status and headers, including `content_length`.
        blocks: the body, in blocks of any size.
    """
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            for block in _exactly(response.content_length or 0, rechunk(blocks)):
                await response.write(block)
        await response.write_eof()
    except Exception as error:
        if not isinstance(error, ConnectionError):  # the client has disconnected
            log.exception("response aborted", path=request.path, error=type(error).__name__)
        if request.transport is not None:
            request.transport.abort()
    return response


def _exactly(length: int, blocks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    total = 0
    for block in blocks:
        total += len(block)
        if total > length:
            break
        yield block
    if total != length:
        raise ValueError(f"body of {total} bytes, announced as {length}")


def rechunk(blocks: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Regroup blocks of any size into writes of at most `WRITE_BYTES`.

    Join small neighbours, and split large blocks without copying them.
    """
    pending: list[bytes] = []
    pending_bytes = 0
    for block in blocks:
        if pending and pending_bytes + len(block) > WRITE_BYTES:
            yield b"".join(pending)
            pending, pending_bytes = [], 0
        if len(block) >= WRITE_BYTES:
            view = memoryview(block)
            for start in range(0, len(block), WRITE_BYTES):
                yield view[start : start + WRITE_BYTES]
        elif block:
            pending.append(block)
            pending_bytes += len(block)
    if pending:
        yield b"".join(pending)
