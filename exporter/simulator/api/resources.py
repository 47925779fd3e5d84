"""The resources of the API: sessions, their events and statistics, the change feed, the service itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import get_args
from urllib.parse import urlencode
from uuid import NAMESPACE_OID, uuid5

from aiohttp import web

from exporter.simulator.api.documents import (
    Page,
    SessionWriter,
    WorkingEnd,
    dumps,
    event_texts,
    organization_text,
    statistics_text,
)
from exporter.simulator.api.routes import API_VERSIONS, ApiError, Call
from exporter.simulator.world.sessions import Session, ticks_from_text
from exporter.simulator.world.world import World

FEED_END = "latest"
OUTDATED_CODE = "OutdatedChangeToken"
OUTDATED_TEXT = "The change token is no longer valid."

_DEFAULT_LIMIT = 30
_MAX_LIMIT = 10_000
_PRODUCT_VERSIONS = {"v6": "6.1.0.222", "v7": "7.1.0.1401", "v8": "8.4.0.1222"}
_FEED_CHECK_SECONDS = 0.05
_FEED_MAX_SECONDS = 60.0
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filters:
    """The bounds (ticks, exclusive) and the order of a list request."""

    start_from: int | None
    start_to: int | None
    end_from: int | None
    end_to: int | None
    order_by: str
    ascending: bool

    @property
    def plain(self) -> bool:
        """Whether the world can serve the request without further filtering."""
        return (
            self.end_from is None
            and self.end_to is None
            and self.order_by == "creationtime"
            and not self.ascending
        )


class Api:
    """Serves authorized calls.

    Args:
        world: the sessions.
        versions: the API versions served.
        working_end: endTime of running sessions.
        page_cap: maximum page size, whatever limit is requested; the `limit` of the page shows it.
        product_version: the version of the product; by default one that serves these API versions.
    """

    def __init__(
        self,
        world: World,
        *,
        versions: tuple[str, ...] = API_VERSIONS,
        working_end: WorkingEnd = "sentinel",
        page_cap: int | None = None,
        product_version: str | None = None,
    ) -> None:
        if working_end not in get_args(WorkingEnd):
            raise ValueError(f"unknown working_end: {working_end!r}")
        self._world = world
        self._writer = SessionWriter(working_end)
        self._page_cap = min(page_cap or _MAX_LIMIT, _MAX_LIMIT)
        self._product_version = product_version or _PRODUCT_VERSIONS[max(versions)]
        self._orders: dict[str, Callable[[Session], object]] = {
            "creationtime": lambda session: session.created,
            "endtime": _end,
            "state": lambda session: session.state,
            "result": lambda session: session.result,
            "type": lambda session: session.type,
            "organization": lambda session: session.organization or "",
            "name": lambda session: session.name,
        }

    async def respond(self, call: Call) -> web.Response:
        """Return the response to a call.

        Raises:
            ApiError: the call is invalid, or its resource does not exist.
        """
        if call.operation == "change_feed":
            return web.json_response(text=await self._change_feed(call))
        text = {
            "organizations": self._organizations,
            "list": self._list,
            "get": self._get,
            "events": self._events,
            "event": self._event,
            "statistics": lambda call: statistics_text(self._session(call)),
            "service_instance": self._service_instance,
            "health": self._health,
        }[call.operation](call)
        return web.json_response(text=text)

    def _organizations(self, call: Call) -> str:
        """`GET /{v}/Organizations`: an array, and a page in v8."""
        extended = self._flag(call, "extendedView", default=call.version == "v6")
        organizations = self._world.organizations
        if call.version != "v8":
            texts = (
                organization_text(one, call.version, extended=extended) for one in organizations
            )
            return f"[{','.join(texts)}]"
        offset, limit = self._range(call)
        page = self._page(call, offset, limit, more=offset + limit < len(organizations))
        listed = organizations[offset : offset + limit]
        return page.text([organization_text(one, "v8", extended=extended) for one in listed])

    def _list(self, call: Call) -> str:
        offset, limit = self._range(call)
        filters = self._filters(call)
        if filters.plain:
            sessions, more = self._world.page(
                offset, limit, created_after=filters.start_from, created_before=filters.start_to
            )
        else:
            every = self._filtered(filters)
            sessions, more = every[offset : offset + limit], offset + limit < len(every)
        return self._page(call, offset, limit, more=more).text(
            [self._writer.record(session, call.version, listed=True) for session in sessions]
        )

    def _filtered(self, filters: _Filters) -> list[Session]:
        low = -1 if filters.end_from is None else filters.end_from
        high = _FOREVER + 1 if filters.end_to is None else filters.end_to
        sessions = [
            session
            for session in self._world.sessions(
                created_after=filters.start_from, created_before=filters.start_to
            )
            if low < _end(session) < high
        ]
        sessions.sort(key=self._orders[filters.order_by], reverse=not filters.ascending)  # type: ignore[arg-type]  # one key's values are of one type
        return sessions

    def _get(self, call: Call) -> str:
        return self._writer.record(self._session(call), call.version)

    def _events(self, call: Call) -> str:
        offset, limit = self._range(call)
        texts = event_texts(self._session(call), call.version, listed=True)
        page = self._page(call, offset, limit, more=offset + limit < len(texts))
        return page.text(list(islice(texts.values(), offset, offset + limit)))

    def _event(self, call: Call) -> str:
        text = event_texts(self._session(call), call.version).get(call.ids[1])
        if text is None:
            raise ApiError(404, "Restore session event not found.", "ResourceNotFound")
        return text

    async def _change_feed(self, call: Call) -> str:
        """`GET /v8/Events`: from=latest gives a token at once, from=token waits until something has changed."""
        limit = self._number(call, "limit", 1000)
        start = call.parameters.get("from", FEED_END)
        if start == FEED_END:
            return dumps(
                {
                    "nextChangeToken": str(self._world.change_number()),
                    "limit": limit,
                    "results": [],
                }
            )
        wait = min(float(self._number(call, "timeoutseconds", 30)), _FEED_MAX_SECONDS)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            self._world.advance()
            changes = (
                self._world.changes_since(int(start), limit)
                if start.isascii() and start.isdecimal()
                else None
            )
            if changes is None:
                raise ApiError(400, OUTDATED_TEXT, OUTDATED_CODE)
            if changes or loop.time() >= deadline:
                break
            await asyncio.sleep(_FEED_CHECK_SECONDS)
        results = [
            {"eventType": "RestoreSessionDelete", "id": change.session_id}
            if change.e_tag is None
            else {
                "eventType": "RestoreSessionUpdate",
                "id": change.session_id,
                "eTag": change.e_tag,
            }
            for change in changes
        ]
        token = str(changes[-1].number) if changes else start
        return dumps({"nextChangeToken": token, "limit": limit, "results": results})

    def _service_instance(self, _: Call) -> str:
        installation = uuid5(NAMESPACE_OID, f"installation {self._world.seed}")
        return dumps({"installationId": str(installation), "version": self._product_version})

    def _health(self, _: Call) -> str:
        healthy = {"status": "Healthy", "description": None}
        return dumps(
            {"status": "Healthy", "entries": {"NATS": healthy, "PostgreSQL": dict(healthy)}}
        )

    def _session(self, call: Call) -> Session:
        session = self._world.session(call.ids[0])
        if session is None:
            raise ApiError(404, "Restore session not found.", "ResourceNotFound")
        return session

    def _range(self, call: Call) -> tuple[int, int]:
        offset = self._number(call, "offset", 0)
        limit = self._number(call, "limit", _DEFAULT_LIMIT)
        if limit == 0:
            raise _invalid("limit")
        return offset, min(limit, self._page_cap)

    def _filters(self, call: Call) -> _Filters:
        modern = call.version == "v8"  # older versions ignore the other parameters
        order_by = call.parameters.get("orderby", "CreationTime").lower() if modern else ""
        if order_by not in {*self._orders, ""}:
            raise _invalid("orderBy")
        return _Filters(
            start_from=self._time(call, "startTimeFrom"),
            start_to=self._time(call, "startTimeTo"),
            end_from=self._time(call, "endTimeFrom") if modern else None,
            end_to=self._time(call, "endTimeTo") if modern else None,
            order_by=order_by or "creationtime",
            ascending=modern and self._flag(call, "orderAsc", default=False),
        )

    @staticmethod
    def _page(call: Call, offset: int, limit: int, *, more: bool) -> Page:
        others = [
            (name, value)
            for name, value in call.request.query.items()
            if name.lower() not in {"offset", "limit"}
        ]
        query = f"&{urlencode(others)}" if others else ""
        path = call.request.rel_url.raw_path
        return Page(path=path, query=query, offset=offset, limit=limit, more=more)

    @staticmethod
    def _number(call: Call, name: str, default: int) -> int:
        text = call.parameters.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 10):
            raise _invalid(name)
        return int(text)

    @staticmethod
    def _flag(call: Call, name: str, *, default: bool) -> bool:
        text = call.parameters.get(name.lower(), str(default)).lower()
        if text not in {"true", "false"}:
            raise _invalid(name)
        return text == "true"

    @staticmethod
    def _time(call: Call, name: str) -> int | None:
        text = call.parameters.get(name.lower(), "")
        if not text:
            return None
        try:
            return ticks_from_text(text)
        except ValueError:
            raise _invalid(name) from None


def _end(session: Session) -> int:
    """Return the end in ticks; running sessions sort last."""
    return _FOREVER if session.ended is None else session.ended


def _invalid(parameter: str) -> ApiError:
    return ApiError(
        400, f"The value of the parameter {parameter} is not valid.", "ParameterValidationFailure"
    )
