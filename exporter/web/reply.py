"""An answer as a value, and the one way it is sent: bounded in memory and in time."""

from __future__ import annotations

import asyncio
import http
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = structlog.get_logger()

PLAIN_TEXT = "text/plain; charset=utf-8"

# Large enough that a scrape costs few system calls, small enough that many slow clients do not
# multiply the body in memory: what one client has not yet taken is about this much.
WRITE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that is ready to be sent.

    `body` is iterated at most once per sending and gives exactly `length` bytes; blocks may be of
    any size.
    """

    status: int = 200
    content_type: str = PLAIN_TEXT
    body: Iterable[bytes]
    length: int
    headers: tuple[tuple[str, str], ...] = ()


def text_reply(
    text: str,
    *,
    status: int = 200,
    content_type: str = PLAIN_TEXT,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    """Make an answer of text; what UTF-8 cannot hold (lone surrogates) is sent as `?`."""
    body = text.encode("utf-8", "replace")
    return Reply(
        status=status, content_type=content_type, body=(body,), length=len(body), headers=headers
    )


def error_reply(status: int, *, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Make the plain answer to a request that is not served: code and phrase, no detail."""
    phrase = http.HTTPStatus(status).phrase
    return text_reply(f"{status} {phrase}\n", status=status, headers=headers)


async def send(
    request: web.BaseRequest,
    reply: Reply,
    *,
    common_headers: tuple[tuple[str, str], ...],
    send_timeout_seconds: float,
) -> web.StreamResponse:
    """Send an answer, waiting for a slow client with no more than one write in memory.

    Args:
        request: the request that is answered; a HEAD gets the header alone.
        reply: the answer.
        common_headers: headers that every answer carries.
        send_timeout_seconds: how long a client may take for each write of up to `WRITE_BYTES`.

    Raises:
        ConnectionResetError: the client has gone, or took too long, or the body turned out not to
            have the announced length: the connection is cut, so that nobody takes a part for the
            whole.
    """
    headers = (
        *common_headers,
        ("Content-Type", reply.content_type),
        ("Content-Length", str(reply.length)),
        *reply.headers,
    )
    with_body = request.method != "HEAD"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(send_timeout_seconds) as limit:
            if with_body and reply.length <= WRITE_BYTES:
                return await _send_at_once(request, reply, headers)
            response = web.StreamResponse(status=reply.status, headers=headers)
            await response.prepare(request)
            for block in _exactly(reply.length, rechunk(reply.body)) if with_body else ():
                limit.reschedule(loop.time() + send_timeout_seconds)
                await response.write(block)
            await response.write_eof()
    except TimeoutError:
        log.debug("client too slow, connection cut", remote=request.remote)
        raise _abort(request) from None
    except ConnectionError:
        raise
    except Exception as error:
        log.exception("answer broken off", path=request.path, error=type(error).__name__)
        raise _abort(request) from error
    return response


class _LengthError(Exception):
    """The body has not the length that was announced."""


def _exactly(length: int, blocks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    given = 0
    for block in blocks:
        given += len(block)
        if given > length:
            break
        yield block
    if given != length:
        raise _LengthError(f"{given} bytes came where {length} were announced")


async def _send_at_once(
    request: web.BaseRequest, reply: Reply, headers: tuple[tuple[str, str], ...]
) -> web.StreamResponse:
    body = b"".join(_exactly(reply.length, rechunk(reply.body)))
    # `Response` sends header and body by one system call, `StreamResponse` by two.
    response = web.Response(status=reply.status, headers=headers, body=body)
    await response.prepare(request)
    await response.write_eof()
    return response


def _abort(request: web.BaseRequest) -> ConnectionResetError:
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the answer was broken off")


def rechunk(blocks: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Regroup blocks of any size into writes of about `WRITE_BYTES`, never more.

    Small neighbours are joined, large blocks are cut without copying them.
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
