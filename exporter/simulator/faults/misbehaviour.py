"""What the faults that strike requests do: to the answer, to the connection, to the client's patience."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from aiohttp import web

from exporter.simulator.api.documents import dumps, problem_text
from exporter.simulator.api.login import Login, bearer_token
from exporter.simulator.api.resources import FEED_END, OUTDATED_CODE, OUTDATED_TEXT
from exporter.simulator.api.routes import Call
from exporter.simulator.faults import wire
from exporter.simulator.faults.damage import DAMAGES, shift_times
from exporter.simulator.faults.registry import Fault
from exporter.simulator.world.sessions import TICKS_PER_SECOND, ticks_from_text, timestamp

_CHUNK = 1 << 20
_SPACES = b" " * _CHUNK
_HTML = "<html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
_PROXY_HTML = "<html><body><h1>{status} {reason}</h1><hr>gateway</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A request and the fault it meets; `right` gives the answer it would have got, `login` the token endpoint."""

    call: Call
    fault: Fault
    right: Callable[[Call], Awaitable[web.Response]]
    login: Login

    async def right_answer(self) -> web.Response:
        """The answer without the fault."""
        return await self.right(self.call)


Misbehaviour = Callable[[Stage], Awaitable[web.StreamResponse]]


# The connection


async def _reset_before_body(stage: Stage) -> web.StreamResponse:
    head, _ = wire.split(await stage.right_answer())
    return await wire.write_and_reset(stage.call.request, head)


async def _reset_in_body(stage: Stage) -> web.StreamResponse:
    head, body = wire.split(await stage.right_answer())
    return await wire.write_and_reset(stage.call.request, head + body[: len(body) // 2])


async def _silence(_: Stage) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError  # pragma: no cover - only the end of the connection ends the wait


async def _slower(stage: Stage) -> web.StreamResponse:
    await asyncio.sleep(stage.fault.value)
    return await stage.right_answer()


async def _one_byte_per_second(stage: Stage) -> web.StreamResponse:
    head, body = wire.split(await stage.right_answer())
    return await wire.drip(stage.call.request, b"", head + body, b"", stage.fault.value)


async def _slow_headers(stage: Stage) -> web.StreamResponse:
    head, body = wire.split(await stage.right_answer())
    return await wire.drip(stage.call.request, b"", head, body, stage.fault.value)


async def _slow_body(stage: Stage) -> web.StreamResponse:
    head, body = wire.split(await stage.right_answer())
    return await wire.drip(stage.call.request, head, body, b"", stage.fault.value)


# Statuses


async def _unauthorized(stage: Stage) -> web.StreamResponse:
    stage.login.office.revoke(bearer_token(stage.call) or "", refresh_too=False)
    return web.Response(status=401)


async def _forbidden(stage: Stage) -> web.StreamResponse:
    return _message(403, "Access denied", "ResourceAccessDenied", stage.call.version)


async def _not_found(stage: Stage) -> web.StreamResponse:
    text = "Restore session not found."
    return _message(404, text, "ResourceNotFound", stage.call.version)


async def _api_missing(_: Stage) -> web.StreamResponse:
    return web.Response(status=404)


async def _status_500(stage: Stage) -> web.StreamResponse:
    return _message(500, "The service is not available.", None, stage.call.version)


def _proxy_status(status: int) -> Misbehaviour:
    async def answer(_: Stage) -> web.StreamResponse:
        response = web.Response(status=status, content_type="text/html")
        response.text = _PROXY_HTML.format(status=status, reason=response.reason)
        return response

    return answer


def _message(status: int, message: str, error_code: str | None, version: str) -> web.Response:
    return web.json_response(text=problem_text(message, error_code, version), status=status)


async def _throttled_seconds(stage: Stage) -> web.StreamResponse:
    return _too_many(str(int(stage.fault.value)))


async def _throttled_date(stage: Stage) -> web.StreamResponse:
    return _too_many(wire.http_date(stage.fault.value))


async def _throttled_bare(_: Stage) -> web.StreamResponse:
    return _too_many(None)


def _too_many(retry_after: str | None) -> web.Response:
    reason = "API calls quota exceeded! maximum admitted 1 per Second."
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return web.Response(status=429, reason=reason, headers=headers)


async def _redirect(stage: Stage) -> web.StreamResponse:
    location = stage.fault.target + stage.call.request.path_qs
    return web.Response(status=307, headers={"Location": location})


# The change feed


async def _change_token_outdated(stage: Stage) -> web.StreamResponse:
    if stage.call.parameters.get("from", FEED_END) == FEED_END:
        return await stage.right_answer()
    return _message(400, OUTDATED_TEXT, OUTDATED_CODE, stage.call.version)


# The token endpoint


def _refuse(grant: str) -> Misbehaviour:
    async def answer(stage: Stage) -> web.StreamResponse:
        return (await stage.login.answer(stage.call, refuse=grant)).response

    return answer


async def _token_throttle(stage: Stage) -> web.StreamResponse:
    return (await stage.login.answer(stage.call, throttled=True)).response


async def _token_expires_early(stage: Stage) -> web.StreamResponse:
    answer = await stage.login.answer(stage.call)
    if answer.grant is not None:
        answer.grant.uses_left = int(stage.fault.value)
    return answer.response


# Bodies


async def _html(_: Stage) -> web.StreamResponse:
    return web.Response(text=_HTML, content_type="text/html")


async def _empty_body(_: Stage) -> web.StreamResponse:
    return web.Response(content_type="application/json", charset="utf-8")


async def _huge_body(stage: Stage) -> web.StreamResponse:
    """JSON of nothing but spaces, made as it goes out, without saying beforehand how long it is."""
    response = web.StreamResponse(headers=dict((await stage.right_answer()).headers))
    response.enable_chunked_encoding()
    await response.prepare(stage.call.request)
    with contextlib.suppress(ConnectionError):  # of a client that has seen enough
        await response.write(b'{"offset":0,"limit":30,"_links":{},"results":[')
        left = int(stage.fault.value)
        while left > 0:
            await response.write(_SPACES[:left])
            await asyncio.sleep(0)  # only then it is noticed that the client has gone
            left -= _CHUNK
        await response.write(b"]}")
        await response.write_eof()
    return response


async def _gzip_bomb(stage: Stage) -> web.StreamResponse:
    """The same as gzip."""
    body = await asyncio.to_thread(_packed_spaces, int(stage.fault.value))
    headers = {**(await stage.right_answer()).headers, "Content-Encoding": "gzip"}
    return web.Response(body=body, headers=headers)


@lru_cache(maxsize=1)
def _packed_spaces(size: int) -> bytes:
    """A page of nothing but so many spaces, as one gzip member: a client may well refuse several of them unseen."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    parts = [packer.compress(b'{"offset":0,"limit":30,"_links":{},"results":[')]
    parts += [packer.compress(_SPACES) for _ in range(max(1, size // _CHUNK))]
    return b"".join([*parts, packer.compress(b"]}"), packer.flush()])


def _damaged(damage: Callable[..., str | bytes]) -> Misbehaviour:
    async def answer(stage: Stage) -> web.StreamResponse:
        call = stage.call
        if stage.fault.name == "endless_paging":
            call = replace(call, parameters={**call.parameters, "offset": "0"})
        response = await stage.right(call)
        if response.status != 200 or not response.text:
            return response
        result = damage(json.loads(response.text), stage.fault, stage.call)
        response.body = result if isinstance(result, bytes) else result.encode()
        return response

    return answer


async def _clock_skew(stage: Stage) -> web.StreamResponse:
    """What the server says of time, and what it is asked about time, is by its own clock."""
    ahead = int(stage.fault.value * 3600) * TICKS_PER_SECOND
    parameters = dict(stage.call.parameters)
    for name in ("starttimefrom", "starttimeto", "endtimefrom", "endtimeto"):
        try:
            parameters[name] = timestamp(ticks_from_text(parameters[name]) - ahead)
        except (KeyError, ValueError):  # not given, or refused in any case
            continue
    response = await stage.right(replace(stage.call, parameters=parameters))
    if response.status == 200 and response.text:
        response.text = dumps(shift_times(json.loads(response.text), ahead))
    response.headers["Date"] = wire.http_date(stage.fault.value * 3600)
    return response


REQUEST_FAULTS: dict[str, Misbehaviour] = {
    "reset_before_body": _reset_before_body,
    "reset_in_body": _reset_in_body,
    "silence": _silence,
    "one_byte_per_second": _one_byte_per_second,
    "slow_headers": _slow_headers,
    "slow_body": _slow_body,
    "slower_than_timeout": _slower,
    "unauthorized_once": _unauthorized,
    "unauthorized": _unauthorized,
    "password_refused": _refuse("password"),
    "refresh_refused": _refuse("refresh_token"),
    "token_expires_early": _token_expires_early,
    "token_throttle": _token_throttle,
    "forbidden": _forbidden,
    "not_found": _not_found,
    "api_missing": _api_missing,
    "throttled_seconds": _throttled_seconds,
    "throttled_date": _throttled_date,
    "throttled_bare": _throttled_bare,
    "status_500": _status_500,
    "status_502": _proxy_status(502),
    "status_503": _proxy_status(503),
    "status_504": _proxy_status(504),
    "html": _html,
    "empty_body": _empty_body,
    "huge_body": _huge_body,
    "gzip_bomb": _gzip_bomb,
    "clock_skew": _clock_skew,
    "redirect_to_other_host": _redirect,
    "change_token_outdated": _change_token_outdated,
    **{name: _damaged(damage) for name, damage in DAMAGES.items()},
}
