"""A request that a fault affects, and the type of the handlers that respond to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from exporter.simulator.api.login import Login
from exporter.simulator.api.routes import Call
from exporter.simulator.faults.registry import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its fault; `respond` produces the normal response, `login` is the token endpoint."""

    call: Call
    fault: Fault
    respond: Callable[[Call], Awaitable[web.Response]]
    login: Login

    async def normal_response(self) -> web.Response:
        """Return the response without the fault."""
        return await self.respond(self.call)


FaultHandler = Callable[[Exchange], Awaitable[web.StreamResponse]]
