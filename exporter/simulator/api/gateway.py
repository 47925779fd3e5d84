"""The entry point of all requests: counting, authorization, faults and responses."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import TypeVar

from aiohttp import web

from exporter.simulator.api.documents import error_text
from exporter.simulator.api.login import Login, token_fields
from exporter.simulator.api.resources import Api
from exporter.simulator.api.routes import ApiError, Call, match
from exporter.simulator.control import Control
from exporter.simulator.faults.exchange import Exchange
from exporter.simulator.faults.handlers import FAULT_HANDLERS
from exporter.simulator.faults.registry import Faults

Response = TypeVar("Response", bound=web.StreamResponse)

_LOG_LENGTH = 10_000
_HEADERS = {
    "Server": "vb365-simulator",
    "Pragma": "no-cache",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "Cache-Control": "no-store",
    "X-Frame-Options": "SAMEORIGIN",
}


@dataclass(slots=True)
class Traffic:
    """The requests received, counted by method and operation ("unknown" if not served) and logged in order.

    `log` has entries like "GET /v8/RestoreSessions?limit=1000"; `response_bytes` counts bodies of known length.
    `active` is the number of requests without a response yet.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    response_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH))
    active: int = 0

    def reset(self) -> None:
        """Reset all counts and the log."""
        self.requests.clear()
        self.response_bytes.clear()
        self.log.clear()


@dataclass(slots=True, kw_only=True)
class Gateway:
    """Handles all requests; those to the control endpoints go to `control`.

    `versions` are the API versions served, `latency_seconds` delays each response, `now` returns the world's time.
    """

    api: Api
    control: Control
    faults: Faults
    login: Login
    versions: tuple[str, ...]
    now: Callable[[], datetime]
    latency_seconds: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle a request."""
        if self.control.handles(request):
            return await self.control.handle(request)
        try:
            call = match(request, self.versions)
        except ApiError as error:
            self._count(request, "unknown")
            return self._with_headers(_error_response(error, ""))
        self._count(request, call.operation)
        self.traffic.active += 1
        try:
            await asyncio.sleep(self.latency_seconds)
            response = self._with_headers(await self._respond(call))
        finally:
            self.traffic.active -= 1
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            key = (request.method, call.operation)
            self.traffic.response_bytes[key] += len(response.body)
        return response

    def _count(self, request: web.BaseRequest, operation: str) -> None:
        self.traffic.requests[request.method, operation] += 1
        self.traffic.log.append(f"{request.method} {request.rel_url.raw_path_qs}")

    async def _respond(self, call: Call) -> web.StreamResponse:
        fault = self.faults.next_for_request(
            call.operation, call.session_id, await _grant_type(call)
        )
        if fault is None:
            return await self._normal_response(call)
        exchange = Exchange(call=call, fault=fault, respond=self._normal_response, login=self.login)
        return await FAULT_HANDLERS[fault.name](exchange)

    async def _normal_response(self, call: Call) -> web.Response:
        try:
            if call.operation == "token":
                return self._with_headers((await self.login.respond(call)).response)
            if not call.anonymous and not self.login.permits(call):
                return self._with_headers(web.Response(status=401))
            if call.operation == "logout":
                self.login.log_out(call)
                return self._with_headers(web.Response(status=200 if call.version == "v7" else 204))
            return self._with_headers(await self.api.respond(call))
        except ApiError as error:
            return self._with_headers(_error_response(error, call.version))

    def _with_headers(self, response: Response) -> Response:
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            # The date of the world, as servers date sessions and responses by the same clock.
            response.headers.setdefault("Date", format_datetime(self.now(), usegmt=True))
        return response


async def _grant_type(call: Call) -> str:
    if call.operation != "token":
        return ""
    try:
        return (await token_fields(call)).get("grant_type", "")
    except ApiError:
        return ""


def _error_response(error: ApiError, version: str) -> web.Response:
    if not error.message:
        return web.Response(status=error.status)
    text = error_text(error.message, error.error_code, version)
    return web.json_response(text=text, status=error.status)
