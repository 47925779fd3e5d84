"""Responses that report far too much: those of the change feed, and those about the events of a session."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from uuid import UUID, uuid4

from aiohttp import web

from exporter.simulator.api.documents import dumps
from exporter.simulator.faults.exchange import Exchange, FaultHandler

_EVENT_PAGE_SECONDS = 0.3


async def _unknown_sessions(exchange: Exchange) -> web.StreamResponse:
    ids = [str(uuid4()) for _ in range(int(exchange.fault.value))]
    return _feed([{"eventType": "RestoreSessionUpdate", "id": one, "eTag": 1} for one in ids])


async def _repeated_deletes(exchange: Exchange) -> web.StreamResponse:
    """Report the deletion of the newest sessions, which exist."""
    parameters = {"limit": str(int(exchange.fault.value))}
    page = await exchange.respond(replace(exchange.call, operation="list", parameters=parameters))
    if page.status != 200 or not page.text:
        return page
    sessions = json.loads(page.text)["results"]
    return _feed([{"eventType": "RestoreSessionDelete", "id": one["id"]} for one in sessions])


async def _many_events(exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(_EVENT_PAGE_SECONDS)
    offset = int(exchange.call.parameters.get("offset", "0"))
    limit = int(exchange.call.parameters.get("limit", "30"))
    results = [
        {"id": str(UUID(int=number)), "type": "View", "status": "Success", "order": number}
        for number in range(offset, min(offset + limit, int(exchange.fault.value)))
    ]
    document = {"offset": offset, "limit": limit, "_links": {}, "results": results}
    return web.json_response(text=dumps(document))


def _feed(results: list[dict[str, object]]) -> web.Response:
    document = {"nextChangeToken": str(uuid4()), "limit": len(results), "results": results}
    return web.json_response(text=dumps(document))


FLOOD_HANDLERS: dict[str, FaultHandler] = {
    "feed_unknown_sessions": _unknown_sessions,
    "feed_repeats_deletes": _repeated_deletes,
    "many_events": _many_events,
}
