"""The simulator's control endpoints below `/_simulator/`, for loopback clients only: the truth, sessions and faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, cast

from aiohttp import web

from exporter.simulator.api.documents import dumps, truth_of
from exporter.simulator.api.login import is_loopback
from exporter.simulator.faults.catalogue import CATALOGUE
from exporter.simulator.faults.registry import Faults
from exporter.simulator.world.sessions import datetime_from_ticks, ticks_from_text, timestamp
from exporter.simulator.world.world import SessionFields, World

_PREFIX = "/_simulator/"
_FIELDS = {
    "name": "name",
    "organization": "organization",
    "type": "type",
    "creationTime": "creation_time",
    "endTime": "end_time",
    "state": "state",
    "result": "result",
    "initiatedBy": "initiated_by",
    "details": "details",
    "scopeName": "scope_name",
    "clientHost": "client_host",
    "reason": "reason",
    "items": "items",
}
_NULLABLE = frozenset({"organization", "endTime"})
_FAULT_FIELDS = {
    "name": str,
    "route": str,
    "sessionId": str,
    "first": int,
    "probability": float,
    "value": float,
    "target": str,
}


class Control:
    """Handles requests to the control endpoints.

    Args:
        world: the sessions.
        faults: the faults.
        apply_faults: applies changed connection faults; takes the protocol whose connection must stay open.
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        apply_faults: Callable[[asyncio.BaseProtocol], Awaitable[None]],
    ) -> None:
        self._world = world
        self._faults = faults
        self._apply_faults = apply_faults

    @staticmethod
    def handles(request: web.BaseRequest) -> bool:
        """Whether the request is for a control endpoint."""
        return request.path.startswith(_PREFIX)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Return a JSON response; 400 with a message if the request is invalid."""
        if not is_loopback(request):
            return _message(403, "only loopback clients are allowed")
        key = (request.method, request.path.removeprefix(_PREFIX))
        try:
            if key == ("GET", "truth"):
                return web.json_response(text=dumps(self._truth(request)))
            if key == ("POST", "sessions"):
                return web.json_response(text=dumps(self._change_session(await _object(request))))
            if key == ("POST", "faults"):
                self._change_faults(await _object(request))
                await self._apply_faults(request.protocol)
            elif key != ("GET", "faults"):
                return _message(404, f"unknown endpoint: {request.method} {request.path}")
        except ValueError as error:
            return _message(400, str(error))
        active = [_fault(asdict(fault)) for fault in self._faults.active()]
        return web.json_response(
            text=dumps({"faults": active, "known": {d.name: d.help for d in CATALOGUE.values()}})
        )

    def _truth(self, request: web.BaseRequest) -> dict[str, object]:
        """Return the state of the world; `?events=true` adds each session's events, `?id=` selects one session."""
        session_id = request.query.get("id")
        sessions = self._world.sessions()
        if session_id is not None:
            sessions = [session for session in sessions if session.id == session_id.lower()]
        with_events = request.query.get("events") == "true"
        return {
            "now": timestamp(self._world.now()),
            "organizations": [one.session_name for one in self._world.organizations],
            "sessions": [truth_of(session, with_events=with_events) for session in sessions],
        }

    def _change_session(self, body: dict[str, Any]) -> dict[str, object]:
        """Add a session, change it if its id is known, or remove it."""
        session_id, remove = body.pop("id", None), body.pop("remove", False)
        if session_id is None:
            return {"id": self._world.add_session(**_session_fields(body)), "added": True}
        if not isinstance(session_id, str):
            raise ValueError("id must be a string")  # noqa: TRY004 - becomes a 400 like the others
        known = self._world.session(session_id) is not None
        fields = _session_fields(body)
        if remove and not known:
            raise ValueError(f"unknown session {session_id!r}")
        if remove:
            self._world.remove(session_id)
            return {"id": session_id.lower(), "removed": True}
        if known:
            self._world.change_session(session_id, **fields)
            return {"id": session_id.lower(), "changed": True}
        fields["id"] = session_id
        return {"id": self._world.add_session(**fields), "added": True}

    def _change_faults(self, body: dict[str, Any]) -> None:
        """Set the fault described, or `{"clear": true}` all, or `{"clear": "name"}` one."""
        if "clear" in body:
            if body["clear"] is not True and not isinstance(body["clear"], str):
                raise ValueError("clear must be true or a fault's name")
            self._faults.clear(None if body["clear"] is True else body["clear"])
            return
        for name, value in body.items():
            expected = _FAULT_FIELDS.get(name)
            if expected is None:
                raise ValueError(f"unknown field {name!r}")
            if not isinstance(value, (int, float) if expected is float else expected):
                raise ValueError(f"{name} must be a {expected.__name__}, not {value!r}")  # noqa: TRY004 - as above
        if "name" not in body:
            raise ValueError("name is missing")
        self._faults.set(
            body["name"],
            route=body.get("route"),
            session_id=body.get("sessionId"),
            first=body.get("first"),
            probability=body.get("probability", 1.0),
            value=body.get("value"),
            target=body.get("target"),
        )


def _session_fields(body: dict[str, Any]) -> SessionFields:
    fields: dict[str, object] = {}
    for name, value in body.items():
        if name not in _FIELDS:
            raise ValueError(f"unknown field {name!r}")
        if value is None and name in _NULLABLE:
            fields[_FIELDS[name]] = None
        elif not isinstance(value, str):
            raise ValueError(f"{name} must be a string, not {value!r}")
        elif name in {"creationTime", "endTime"}:
            fields[_FIELDS[name]] = datetime_from_ticks(ticks_from_text(value))
        else:
            fields[_FIELDS[name]] = value
    return cast("SessionFields", fields)


def _fault(fields: dict[str, object]) -> dict[str, object]:
    fields["sessionId"] = fields.pop("session_id")
    return fields


async def _object(request: web.BaseRequest) -> dict[str, Any]:
    body = json.loads(await request.read() or b"{}")
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - becomes a 400 like the others
    return body


def _message(status: int, text: str) -> web.Response:
    return web.json_response(text=dumps({"message": text}), status=status)
