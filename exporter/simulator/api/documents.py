"""The JSON documents of the API, byte for byte in the form of real servers.

Sources: the v6 captures of the list and of the events, the v8 page shape, and the OpenAPI documents of v6, v7 and v8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid5

from exporter.simulator.world.events import Event, event_times, events_of
from exporter.simulator.world.organizations import Organization
from exporter.simulator.world.sessions import Session, ticks_from_datetime, timestamp

WorkingEnd = Literal["sentinel", "null", "absent"]

_NEVER = "9999-12-31T23:59:59.9999999Z"
_VERBS = {
    "View": "opened",
    "Restore": "restored",
    "Save": "saved",
    "Export": "exported",
    "Send": "sent",
}
_ITEM_TYPES = {
    "Vex": "IPM.Note",
    "Veod": "OneDriveItem",
    "Vesp": "Item",
    "Vet": "Post",
}


def dumps(value: object) -> str:
    """Return compact JSON; non-ASCII characters stay unless they cannot be encoded."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return json.dumps(value, separators=(",", ":"))
    return text


class SessionWriter:
    """Serializes restore sessions and caches the result until a session changes, so that long lists are cheap."""

    def __init__(self, working_end: WorkingEnd) -> None:
        self._working_end = working_end
        self._written: dict[str, tuple[Session, str]] = {}

    def record(self, session: Session, version: str, *, listed: bool = False) -> str:
        """Return the JSON object of a session; in a list its links have no leading slash."""
        known, body = self._written.get(session.id, (None, ""))
        if known is not session:
            body = self._body(session)
            self._written[session.id] = (session, body)
        e_tag = f',"eTag":{session.e_tag}' if version == "v8" else ""
        href = f"{'' if listed else '/'}{version}/restoresessions/{quote(session.id)}"
        return (
            f'{{{body}{e_tag},"_links":{{"self":{{"href":"{href}"}},'
            f'"organization":{{"href":"{href}/organization"}},'
            f'"restoreSessionEvents":{{"href":"{href}/events"}}}}}}'
        )

    def _body(self, session: Session) -> str:
        fields: dict[str, object] = {"id": session.id, "name": session.name}
        if session.organization is not None:
            fields["organization"] = session.organization
        fields["type"] = session.type
        fields["creationTime"] = timestamp(session.created)
        if session.ended is not None:
            fields["endTime"] = timestamp(session.ended)
        elif self._working_end == "null":
            fields["endTime"] = None
        elif self._working_end == "sentinel":
            fields["endTime"] = _NEVER
        fields |= {"state": session.state, "result": session.result}
        if session.initiated_by:
            fields["initiatedBy"] = session.initiated_by
        if session.details:
            fields["details"] = session.details
        fields["scopeName"] = session.scope_name
        if session.client_host:
            fields["clientHost"] = session.client_host
        if session.reason:
            fields["reason"] = session.reason
        return dumps(fields)[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The position of a page in its list; `path` and `query` ("" or "&name=value...") are used in its links."""

    path: str
    query: str
    offset: int
    limit: int
    more: bool

    def text(self, records: Sequence[str]) -> str:
        """Return the JSON of the page with these records."""
        links = {"self": self._link(self.offset)}
        if self.offset > 0:
            links |= {"first": self._link(0), "prev": self._link(max(0, self.offset - self.limit))}
        if self.more:
            links["next"] = self._link(self.offset + self.limit)
        return (
            f'{{"offset":{self.offset},"limit":{self.limit},"_links":{dumps(links)},'
            f'"results":[{",".join(records)}]}}'
        )

    def _link(self, offset: int) -> dict[str, str]:
        return {"href": f"{self.path}?offset={offset}&limit={self.limit}{self.query}"}


def organization_text(organization: Organization, version: str, *, extended: bool) -> str:
    """Return the JSON object of an organization, with the settings of its services if `extended`."""
    fields: dict[str, object] = {"type": "Office365", "region": "Worldwide", "id": organization.id}
    if organization.name:
        fields["name"] = organization.name
    if organization.office_name:
        fields["officeName"] = organization.office_name
    fields["isBackedup"] = organization.is_backed_up
    if extended:
        settings = {"officeOrganizationName": organization.session_name}
        fields |= {"exchangeOnlineSettings": settings, "sharePointOnlineSettings": settings}
    fields["_links"] = {"self": {"href": f"/{version}/organizations/{organization.id}"}}
    return dumps(fields)


@lru_cache(maxsize=2)
def event_texts(session: Session, version: str, *, listed: bool = False) -> Mapping[str, str]:
    """Return the JSON objects of a session's events in order, by id; cached because they are requested page by page."""
    href = f"{'' if listed else '/'}{version}/restoresessions/{quote(session.id)}"
    texts = {}
    for event in events_of(session):
        event_id = str(uuid5(NAMESPACE_OID, f"{session.id}/{event.order}"))
        links = {
            "self": {"href": f"{href}/events/{event_id}"},
            "restoreSession": {"href": href},
        }
        fields = {**_event(session, event, event_id), "_links": links}
        if version == "v8":
            organization_id = str(uuid5(NAMESPACE_OID, session.organization or ""))
            fields |= {"organizationId": organization_id, "userId": None, "siteId": None}
        texts[event_id] = dumps(fields)
    return MappingProxyType(texts)


def _event(session: Session, event: Event, event_id: str) -> dict[str, object]:
    fields: dict[str, object] = {"itemSizeBytes": event.size_bytes}
    title = message = event.title
    if event.item is not None:
        name, item_type = f"Item {event.item + 1}", _ITEM_TYPES.get(session.type, "Item")
        source, target = "Ben Young\\Inbox", "C:\\Users\\benyoung\\Desktop"
        done = event.status in {"Success", "Warning"}
        ending = f"was {_VERBS[event.operation]} {'successfully' if done else 'not'}"
        title = f"Item {ending}"
        message = f"Item {name} {ending} (type: {item_type}; source: {source}; target: {target})"
        fields = {
            "itemName": name,
            "itemType": item_type,
            **fields,
            "source": source,
            "target": target,
        }
    fields |= {
        "id": event_id,
        "type": event.operation,
        "status": event.status,
        "startTime": timestamp(event.started),
        "endTime": None if event.ended is None else timestamp(event.ended),
        "duration": _time_span(0 if event.ended is None else event.ended - event.started),
        "title": title,
        "message": message,
        "order": event.order,
    }
    return fields


def _time_span(ticks: int) -> str:
    """Return a .NET TimeSpan: `00:00:00` or `hh:mm:ss.fffffff`."""
    seconds, fraction = divmod(ticks, 10_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:07}" if fraction else text


def statistics_text(session: Session) -> str:
    """Return the response of `GET /v8/RestoreSessions/{id}/Statistics`."""
    count = session.statistics
    items = [
        {
            "id": str(event.order),
            "itemRestoreDetailsType": "Item",
            "name": f"Item {event.order}",
            "itemType": _ITEM_TYPES.get(session.type, "Item"),
            "status": "Skipped" if event.status == "Cancelled" else event.status,
            "path": "/Documents",
        }
        for event in events_of(session)
        if event.item is not None and event.operation != "View" and event.status != "Running"
    ]
    return dumps(
        {
            "totalItemsCount": sum(count.values()),
            "restoredItemsCount": count["restored"],
            "failedItemsCount": count["failed"],
            "skippedItemsCount": count["skipped"],
            "items": items,
            "warnings": ["An item was restored with a warning"] if "w" in session.items else [],
            "errors": ["An item could not be restored"] if "f" in session.items else [],
        }
    )


def error_text(message: str, error_code: str | None, version: str) -> str:
    """Return the body of an error: RESTExceptionInfo of the API version."""
    fields: dict[str, object] = {"message": message}
    if version == "v7":
        fields["errorCode"] = None
    elif version == "v8":
        fields |= {"errorCode": error_code, "stackTrace": None}
    return dumps(fields)


def truth_of(session: Session, *, with_events: bool = False) -> dict[str, object]:
    """Return the true state of a session, unaffected by API versions and faults.

    `result`, `endTime`, `durationSeconds` and `processedItems` are null unless the session is Stopped and has ended;
    `activeDurationSeconds` is null if no item was touched.
    """
    ended, times = session.ended, event_times(session)
    truth: dict[str, object] = {
        "id": session.id,
        "name": session.name,
        "organization": session.organization,
        "type": session.type,
        "state": session.state,
        "result": session.result if session.stopped else None,
        "creationTime": timestamp(session.created),
        "endTime": None if ended is None else timestamp(ended),
        "durationSeconds": None if ended is None else (ended - session.created) / 10_000_000,
        "initiatedBy": session.initiated_by,
        "details": session.details,
        "scopeName": session.scope_name,
        "clientHost": session.client_host,
        "reason": session.reason,
        "eTag": session.e_tag,
        "processedItems": session.processed_items if session.stopped else None,
        "statistics": session.statistics,
        "lastEventTime": timestamp(ticks_from_datetime(times.last_event)),
        "activeDurationSeconds": times.active_seconds,
    }
    if with_events:
        truth["events"] = [
            {
                "operation": event.operation,
                "status": event.status,
                "bytes": event.size_bytes,
                "startTime": timestamp(event.started),
                "endTime": None if event.ended is None else timestamp(event.ended),
            }
            for event in events_of(session)
        ]
    return truth
