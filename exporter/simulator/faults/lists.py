"""Handlers of the faults of paging: pages that shift, have no stable order, or never end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

from aiohttp import web

from exporter.simulator.api.documents import dumps
from exporter.simulator.api.routes import Call
from exporter.simulator.faults.exchange import Exchange, FaultHandler
from exporter.simulator.world.sessions import ticks_from_datetime, timestamp

_MAX_LIMIT = 10_000
_SESSION_SECONDS = 30


async def _rows_shift(exchange: Exchange) -> web.StreamResponse:
    call = exchange.call
    offset = _offset(call)
    if offset > 0:
        call = _at(call, max(0, offset + int(exchange.fault.value)))
    return await exchange.respond(call)


async def _shuffled_pages(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.normal_response()
    if response.status != 200:
        return response
    page = _document(response)
    records: list[object] = []
    while True:
        part = _document(await exchange.respond(_at(exchange.call, len(records), _MAX_LIMIT)))
        records += part["results"]
        if "next" not in part["_links"]:
            break
    offset = _offset(exchange.call)
    Random(offset).shuffle(records)  # noqa: S311 - reproducible, another order for every page
    page["results"] = records[offset : offset + len(page["results"])]
    response.text = dumps(page)
    return response


async def _endless_sessions(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.normal_response()
    if response.status != 200:
        return response
    offset, limit = _offset(exchange.call), int(exchange.fault.value)
    midnight = parsedate_to_datetime(response.headers["Date"]).replace(hour=0, minute=0, second=0)
    records = []
    for number in range(offset, offset + limit):
        created = midnight - timedelta(seconds=number)
        records.append(
            {
                "id": f"{number:08x}-0000-4000-8000-000000000000",
                "name": f"Restore session {number}",
                "organization": "endless.example.com",
                "type": "Vex",
                "creationTime": timestamp(ticks_from_datetime(created)),
                "endTime": timestamp(
                    ticks_from_datetime(created + timedelta(seconds=_SESSION_SECONDS))
                ),
                "state": "Stopped",
                "result": "Success",
            }
        )
    page = {**_document(response), "offset": offset, "limit": limit, "results": records}
    href = f"{exchange.call.request.path}?offset={offset + limit}&limit={limit}"
    page["_links"]["next"] = {"href": href}
    response.text = dumps(page)
    return response


def _offset(call: Call) -> int:
    text = call.parameters.get("offset", "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _at(call: Call, offset: int, limit: int | None = None) -> Call:
    """Return the call for another part of the list."""
    parameters = {**call.parameters, "offset": str(offset)}
    if limit is not None:
        parameters["limit"] = str(limit)
    return replace(call, parameters=parameters)


def _document(response: web.Response) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response.text or "{}")
    return document


LIST_HANDLERS: dict[str, FaultHandler] = {
    "rows_shift": _rows_shift,
    "shuffled_pages": _shuffled_pages,
    "endless_sessions": _endless_sessions,
}
