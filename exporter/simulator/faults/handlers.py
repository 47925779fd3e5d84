"""Handlers of the request faults, which change the response or the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

from aiohttp import web

from exporter.simulator.api.documents import dumps, error_text
from exporter.simulator.api.login import bearer_token
from exporter.simulator.api.resources import FEED_END, OUTDATED_CODE, OUTDATED_TEXT
from exporter.simulator.faults import large_bodies, wire
from exporter.simulator.faults.corruption import CORRUPTIONS, shift_times
from exporter.simulator.faults.exchange import Exchange, FaultHandler
from exporter.simulator.faults.floods import FLOOD_HANDLERS
from exporter.simulator.faults.lists import LIST_HANDLERS
from exporter.simulator.world.sessions import TICKS_PER_SECOND, ticks_from_text, timestamp

_HTML = "<html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
_PROXY_HTML = "<html><body><h1>{status} {reason}</h1><hr>gateway</body></html>"


# The connection


async def _reset_before_body(exchange: Exchange) -> web.StreamResponse:
    head, _ = wire.split(await exchange.normal_response())
    return await wire.write_and_reset(exchange.call.request, head)


async def _reset_in_body(exchange: Exchange) -> web.StreamResponse:
    head, body = wire.split(await exchange.normal_response())
    return await wire.write_and_reset(exchange.call.request, head + body[: len(body) // 2])


async def _silence(_: Exchange) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError  # pragma: no cover - only closing the connection ends the wait


async def _slower(exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(exchange.fault.value)
    return await exchange.normal_response()


async def _one_byte_per_second(exchange: Exchange) -> web.StreamResponse:
    head, body = wire.split(await exchange.normal_response())
    return await wire.drip(exchange.call.request, b"", head + body, b"", exchange.fault.value)


async def _slow_headers(exchange: Exchange) -> web.StreamResponse:
    head, body = wire.split(await exchange.normal_response())
    return await wire.drip(exchange.call.request, b"", head, body, exchange.fault.value)


async def _slow_body(exchange: Exchange) -> web.StreamResponse:
    head, body = wire.split(await exchange.normal_response())
    return await wire.drip(exchange.call.request, head, body, b"", exchange.fault.value)


# Headers


async def _interim_responses(exchange: Exchange) -> web.StreamResponse:
    wire.write_interim(exchange.call.request, int(exchange.fault.value))
    return await exchange.normal_response()


async def _cookies(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.normal_response()
    for number in range(int(exchange.fault.value)):
        response.set_cookie(f"cookie-{number}", "x" * 300)
    return response


async def _large_headers(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.normal_response()
    lines = 80  # clients accept a hundred
    cookie = "a=1" + ";b" * (int(exchange.fault.value) // lines // 2)
    for _ in range(lines):
        response.headers.add("Set-Cookie", cookie)
    return response


# Statuses


async def _unauthorized(exchange: Exchange) -> web.StreamResponse:
    exchange.login.tokens.revoke(bearer_token(exchange.call) or "", refresh_too=False)
    return web.Response(status=401)


async def _forbidden(exchange: Exchange) -> web.StreamResponse:
    return _message(403, "Access denied", "ResourceAccessDenied", exchange.call.version)


async def _not_found(exchange: Exchange) -> web.StreamResponse:
    text = "Restore session not found."
    return _message(404, text, "ResourceNotFound", exchange.call.version)


async def _api_missing(_: Exchange) -> web.StreamResponse:
    return web.Response(status=404)


async def _status_500(exchange: Exchange) -> web.StreamResponse:
    return _message(500, "The service is not available.", None, exchange.call.version)


async def _unknown_error_code(exchange: Exchange) -> web.StreamResponse:
    text = "The operation is not possible now."
    return _message(
        int(exchange.fault.value), text, "RepositoryUnderMaintenance", exchange.call.version
    )


def _proxy_status(status: int) -> FaultHandler:
    async def answer(_: Exchange) -> web.StreamResponse:
        response = web.Response(status=status, content_type="text/html")
        response.text = _PROXY_HTML.format(status=status, reason=response.reason)
        return response

    return answer


def _message(status: int, message: str, error_code: str | None, version: str) -> web.Response:
    return web.json_response(text=error_text(message, error_code, version), status=status)


async def _throttled_seconds(exchange: Exchange) -> web.StreamResponse:
    return _too_many({"Retry-After": str(int(exchange.fault.value))})


async def _throttled_date(exchange: Exchange) -> web.StreamResponse:
    # Throttles run on real time, whatever the time of the world.
    dates = {"Date": wire.http_date(0), "Retry-After": wire.http_date(exchange.fault.value)}
    return _too_many(dates)


async def _throttled_bare(_: Exchange) -> web.StreamResponse:
    return _too_many({})


def _too_many(headers: dict[str, str]) -> web.Response:
    reason = "API calls quota exceeded! maximum admitted 1 per Second."
    return web.Response(status=429, reason=reason, headers=headers)


async def _redirect(exchange: Exchange) -> web.StreamResponse:
    location = exchange.fault.target + exchange.call.request.path_qs
    return web.Response(status=307, headers={"Location": location})


# The change feed


async def _change_token_outdated(exchange: Exchange) -> web.StreamResponse:
    if exchange.call.parameters.get("from", FEED_END) == FEED_END:
        return await exchange.normal_response()
    return _message(400, OUTDATED_TEXT, OUTDATED_CODE, exchange.call.version)


# The token endpoint


def _refuse(grant_type: str) -> FaultHandler:
    async def answer(exchange: Exchange) -> web.StreamResponse:
        return (await exchange.login.respond(exchange.call, refuse=grant_type)).response

    return answer


async def _token_throttle(exchange: Exchange) -> web.StreamResponse:
    return (await exchange.login.respond(exchange.call, throttled=True)).response


async def _token_expires_early(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.login.respond(exchange.call)
    if response.tokens is not None:
        response.tokens.uses_left = int(exchange.fault.value)
    return response.response


async def _token_lifetime(exchange: Exchange) -> web.StreamResponse:
    response = (await exchange.login.respond(exchange.call)).response
    if response.status == 200 and response.text:
        response.text = dumps(json.loads(response.text) | {"expires_in": int(exchange.fault.value)})
    return response


# Bodies


async def _html(_: Exchange) -> web.StreamResponse:
    return web.Response(text=_HTML, content_type="text/html")


async def _empty_body(_: Exchange) -> web.StreamResponse:
    return web.Response(content_type="application/json", charset="utf-8")


async def _huge_body(exchange: Exchange) -> web.StreamResponse:
    headers = (await exchange.normal_response()).headers
    return await large_bodies.stream_spaces(
        exchange.call.request, headers, int(exchange.fault.value)
    )


async def _gzip_bomb(exchange: Exchange) -> web.StreamResponse:
    """Send the same body compressed."""
    body = await asyncio.to_thread(large_bodies.packed_spaces, int(exchange.fault.value))
    headers = {**(await exchange.normal_response()).headers, "Content-Encoding": "gzip"}
    return web.Response(body=body, headers=headers)


async def _odd_json(exchange: Exchange) -> web.StreamResponse:
    body = await asyncio.to_thread(large_bodies.odd_json, int(exchange.fault.value))
    return web.Response(body=body, content_type="application/json")


def _corrupted(corrupt: Callable[..., str | bytes]) -> FaultHandler:
    async def answer(exchange: Exchange) -> web.StreamResponse:
        call = exchange.call
        if exchange.fault.name == "endless_paging":
            call = replace(call, parameters={**call.parameters, "offset": "0"})
        response = await exchange.respond(call)
        if response.status != 200 or not response.text:
            return response
        result = corrupt(json.loads(response.text), exchange.fault, exchange.call)
        response.body = result if isinstance(result, bytes) else result.encode()
        return response

    return answer


async def _clock_skew(exchange: Exchange) -> web.StreamResponse:
    """Shift all times of the response, and interpret those of the request, by a clock that is ahead."""
    ahead = int(exchange.fault.value * 3600) * TICKS_PER_SECOND
    parameters = dict(exchange.call.parameters)
    for name in ("starttimefrom", "starttimeto", "endtimefrom", "endtimeto"):
        try:
            parameters[name] = timestamp(ticks_from_text(parameters[name]) - ahead)
        except (KeyError, ValueError):  # missing, or rejected anyway
            continue
    response = await exchange.respond(replace(exchange.call, parameters=parameters))
    if response.status == 200 and response.text:
        response.text = dumps(shift_times(json.loads(response.text), ahead))
    date = parsedate_to_datetime(response.headers["Date"])
    response.headers["Date"] = format_datetime(
        date + timedelta(hours=exchange.fault.value), usegmt=True
    )
    return response


FAULT_HANDLERS: dict[str, FaultHandler] = {
    "reset_before_body": _reset_before_body,
    "reset_in_body": _reset_in_body,
    "silence": _silence,
    "one_byte_per_second": _one_byte_per_second,
    "slow_headers": _slow_headers,
    "slow_body": _slow_body,
    "slower_than_timeout": _slower,
    "interim_responses": _interim_responses,
    "cookies": _cookies,
    "large_headers": _large_headers,
    "unauthorized_once": _unauthorized,
    "unauthorized": _unauthorized,
    "password_refused": _refuse("password"),
    "refresh_refused": _refuse("refresh_token"),
    "token_expires_early": _token_expires_early,
    "token_lifetime": _token_lifetime,
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
    "unknown_error_code": _unknown_error_code,
    "html": _html,
    "empty_body": _empty_body,
    "huge_body": _huge_body,
    "gzip_bomb": _gzip_bomb,
    "odd_json": _odd_json,
    "clock_skew": _clock_skew,
    "redirect_to_other_host": _redirect,
    "change_token_outdated": _change_token_outdated,
    **FLOOD_HANDLERS,
    **LIST_HANDLERS,
    **{name: _corrupted(corrupt) for name, corrupt in CORRUPTIONS.items()},
}
