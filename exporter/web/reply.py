"""Text responses, and the streaming of large ones in bounded memory and in a bounded number of places."""

from __future__ import annotations

import asyncio
import http
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from aiohttp import web

log = structlog.get_logger()

# Large enough for few system calls per scrape, and below 128 KiB: glibc maps larger blocks from the
# system for each write, which doubles the time of a scrape. Each slow client holds about one block.
WRITE_BYTES = 112 * 1024

# A client that reads takes milliseconds for a write; over a slow link it takes as long as the link.
STALL_SECONDS = 0.1
_RETRY_AFTER_SECONDS = 5


def text_response(
    text: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a text response; what UTF-8 cannot encode (lone surrogates) is sent as `?`."""
    return web.Response(
        status=status,
        headers={**(headers or {}), "Content-Type": "text/plain; charset=utf-8"},
        body=text.encode("utf-8", "replace"),
    )


def error_response(status: int, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error response that has only the status code and its phrase."""
    phrase = http.HTTPStatus(status).phrase
    return text_response(f"{status} {phrase}\n", status=status, headers=headers)


class NoPlaceError(Exception):
    """All places are taken by clients that read, or that have not stalled for long."""


class Place:
    """The place of a response in flight.

    Args:
        request: the request that it responds to.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self._stalled_since: float | None = None

    def stalled_seconds(self) -> float:
        """Return how long the current write has waited for the client."""
        now = asyncio.get_running_loop().time()
        return 0.0 if self._stalled_since is None else now - self._stalled_since

    async def write(self, response: web.StreamResponse, block: bytes | memoryview) -> None:
        """Write a block, and wait until the client has read most of it."""
        await asyncio.sleep(0)  # responses take turns, even if the kernel takes every write
        self._stalled_since = asyncio.get_running_loop().time()
        await response.write(block)
        self._stalled_since = None


class Places:
    """Limits the responses in flight, so that clients that do not read take no place from those that do.

    At the limit, the response whose client has stalled longest is aborted, if that is long enough. If another address
    has more than half of the places, it loses one in any case.

    Args:
        count: the number of places.
        stall_seconds: how long a client may leave a write unread while others wait for its place.
    """

    def __init__(self, count: float, *, stall_seconds: float = STALL_SECONDS) -> None:
        self._count = count
        self._stall_seconds = stall_seconds
        self._taken: dict[Place, None] = {}

    @contextmanager
    def hold(self, request: web.BaseRequest) -> Iterator[Place]:
        """Hold a place for a response.

        Raises:
            NoPlaceError: no place is free.
        """
        if len(self._taken) >= self._count:
            self._make_room(request)
        place = Place(request)
        self._taken[place] = None
        try:
            yield place
        finally:
            self._taken.pop(place, None)

    def _make_room(self, request: web.BaseRequest) -> None:
        address, count = Counter(place.request.remote for place in self._taken).most_common(1)[0]
        if address != request.remote and count > self._count / 2:
            candidates = [place for place in self._taken if place.request.remote == address]
            enough_seconds = 0.0
        else:
            candidates = list(self._taken)
            enough_seconds = self._stall_seconds
        place = max(candidates, key=Place.stalled_seconds)
        if place.stalled_seconds() < enough_seconds:
            raise NoPlaceError
        log.debug("client too slow, response aborted to make room", remote=place.request.remote)
        del self._taken[place]
        _abort(place.request)


def no_place_response() -> web.Response:
    """Return the response to a request for which no place is free; it drops the requests pipelined behind it."""
    response = error_response(503, headers={"Retry-After": str(_RETRY_AFTER_SECONDS)})
    response.force_close()
    return response


async def stream(
    place: Place, blocks: Iterable[bytes], *, length: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send a response while holding at most one write of its body in memory.

    Abort the connection on any error, and if the body does not have the announced length, so that no
    client mistakes a part for the whole.

    Args:
        place: the place of the response; the response to HEAD has no body.
        blocks: the body, in blocks of any size.
        length: the number of bytes of the body.
        headers: the headers, without the length.
    """
    request = place.request
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            for block in _exactly(length, rechunk(blocks)):
                await place.write(response, block)
        await response.write_eof()
    except Exception as error:
        if not isinstance(error, ConnectionError):  # the client has disconnected
            log.exception("response aborted", path=request.path, error=type(error).__name__)
        _abort(request)
    return response


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


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
