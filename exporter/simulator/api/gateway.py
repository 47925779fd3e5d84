"""Every request comes through here: counted, let in or refused, answered rightly or as a fault has it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web

from exporter.simulator.api.documents import problem_text
from exporter.simulator.api.login import Login, token_fields
from exporter.simulator.api.resources import Api
from exporter.simulator.api.routes import Call, Problem, match
from exporter.simulator.control import Control
from exporter.simulator.faults.misbehaviour import REQUEST_FAULTS, Stage
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
    """What has been asked: by method and operation ("unknown" for what is not served), and in order.

    `log` has entries like "GET /v8/RestoreSessions?limit=1000"; `response_bytes` counts bodies that have one length.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    response_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH))

    def reset(self) -> None:
        """Begin again."""
        self.requests.clear()
        self.response_bytes.clear()
        self.log.clear()


@dataclass(slots=True, kw_only=True)
class Gateway:
    """The handler of all requests; requests to the simulator itself go to `control`.

    `versions` are the prefixes that are served, `latency_seconds` is how long each answer takes.
    """

    api: Api
    control: Control
    faults: Faults
    login: Login
    versions: tuple[str, ...]
    latency_seconds: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        if self.control.concerned(request):
            return await self.control.answer(request)
        try:
            call = match(request, self.versions)
        except Problem as problem:
            self._count(request, "unknown")
            return _finished(_problem(problem, ""))
        self._count(request, call.operation)
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        response = _finished(await self._answer(call))
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            key = (request.method, call.operation)
            self.traffic.response_bytes[key] += len(response.body)
        return response

    def _count(self, request: web.BaseRequest, operation: str) -> None:
        self.traffic.requests[request.method, operation] += 1
        self.traffic.log.append(f"{request.method} {request.rel_url.raw_path_qs}")

    async def _answer(self, call: Call) -> web.StreamResponse:
        fault = self.faults.strike(call.operation, call.session_id, await _grant_type(call))
        if fault is None:
            return await self._right_answer(call)
        stage = Stage(call=call, fault=fault, right=self._right_answer, login=self.login)
        return await REQUEST_FAULTS[fault.name](stage)

    async def _right_answer(self, call: Call) -> web.Response:
        try:
            if call.operation == "token":
                return _finished((await self.login.answer(call)).response)
            if not call.anonymous and not self.login.permits(call):
                return _finished(web.Response(status=401))
            if call.operation == "logout":
                self.login.log_out(call)
                return _finished(web.Response(status=200 if call.version == "v7" else 204))
            return _finished(await self.api.answer(call))
        except Problem as problem:
            return _finished(_problem(problem, call.version))


async def _grant_type(call: Call) -> str:
    if call.operation != "token":
        return ""
    try:
        return (await token_fields(call)).get("grant_type", "")
    except Problem:
        return ""


def _problem(problem: Problem, version: str) -> web.Response:
    if not problem.message:
        return web.Response(status=problem.status)
    text = problem_text(problem.message, problem.error_code, version)
    return web.json_response(text=text, status=problem.status)


def _finished(response: Response) -> Response:
    if not response.prepared:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
    return response
