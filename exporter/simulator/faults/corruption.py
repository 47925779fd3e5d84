"""Faults that corrupt a valid JSON response before it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from exporter.simulator.api.documents import dumps
from exporter.simulator.api.routes import Call
from exporter.simulator.faults.registry import Fault
from exporter.simulator.world.sessions import TICKS_PER_SECOND, ticks_from_text, timestamp

# Parsed JSON of any shape.
Document = Any

_STRING_FIELDS = frozenset(
    {
        "name",
        "organization",
        "initiatedBy",
        "details",
        "scopeName",
        "clientHost",
        "reason",
        "itemName",
        "title",
        "message",
        "version",
    }
)
_WRONG_TYPES: dict[str, object] = {
    "name": 17,
    "organization": ["contoso"],
    "type": 3,
    "creationTime": 1645544425,
    "endTime": {"at": "noon"},
    "startTime": True,
    "state": True,
    "result": [],
    "status": {},
    "initiatedBy": 1.5,
    "details": 12,
    "scopeName": False,
    "clientHost": {},
    "eTag": "seven",
    "itemSizeBytes": "many",
    "totalItemsCount": "all",
    "restoredItemsCount": [12],
    "failedItemsCount": {},
    "skippedItemsCount": "none",
    "version": 8,
}
_UNKNOWN_VALUES = {
    "type": "Vpp",
    "state": "Suspended",
    "result": "Cancelled",
    "status": "Suspended",
}
_UNKNOWN_EVENTS: tuple[object, ...] = (
    {"eventType": "BackupJobUpdate", "id": "0b0a1e2c-9d3f-4f57-8a51-6c7de1f8a902", "eTag": 41},
    {"eventType": "LicenseUpdate"},
    {"eventType": "RestoreSessionUpdate", "eTag": 42},
    {"eventType": "RestoreSessionDelete", "id": None},
    {"id": "5d1f0f0e-43a5-4f6c-9d0b-7f3a2b1c0d9e"},
)
_TIMES = frozenset({"creationTime", "endTime", "startTime", ".issued", ".expires"})
_HUGE = "huge number"
_CONTROLS = "\x00\x07\x1b[31m\r\n\x7f\x85\u2028"


def _records(document: Document, fault: Fault) -> Iterator[dict[str, Any]]:
    """Yield the objects to corrupt: those of a page or an array, or the document; only the fault's session if it has one."""
    records = _list_of(document)
    for record in [document] if records is None else records:
        if fault.session_id in (None, record.get("id")):
            yield record


def _list_of(document: Document) -> list[Any] | None:
    """Return the records of a page or an array, which a caller may change; None for any other document."""
    if isinstance(document, dict):
        return document.get("results")
    return document if isinstance(document, list) else None


def _each_record(change: Callable[[dict[str, Any]], None]) -> Callable[..., str]:
    def corrupt(document: Document, fault: Fault, _: Call) -> str:
        for record in _records(document, fault):
            change(record)
        return dumps(document)

    return corrupt


def _wrong_types(record: dict[str, Any]) -> None:
    record |= {name: value for name, value in _WRONG_TYPES.items() if name in record}


def _unknown_values(record: dict[str, Any]) -> None:
    record |= {name: value for name, value in _UNKNOWN_VALUES.items() if name in record}


def _nulls(record: dict[str, Any]) -> None:
    record |= {name: None for name in record if name != "id"}


def _missing_fields(record: dict[str, Any]) -> None:
    for name in [name for name in record if name != "id"]:
        del record[name]


def _not_uuids(record: dict[str, Any]) -> None:
    if "id" in record:
        record["id"] = f"session-{record['id'][:8]}"


def _end_before_creation(record: dict[str, Any]) -> None:
    created = record.get("creationTime")
    if created is not None and record.get("state") == "Stopped":
        record["endTime"] = timestamp(ticks_from_text(created) - 3600 * TICKS_PER_SECOND)


def _append(text: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name in _STRING_FIELDS and isinstance(value, str):
                record[name] = value + text

    return change


def _wrong_charset(document: Document, fault: Fault, _: Call) -> bytes:
    for record in _records(document, fault):
        _append("é")(record)
    return dumps(document).encode("latin-1", "replace")


def _numbers(replacements: tuple[object, ...]) -> Callable[..., str]:
    """Replace every number by the replacements in turn; each record gets an eTag, so that it has a number."""

    def corrupt(document: Document, fault: Fault, _: Call) -> str:
        done = 0

        def replaced(value: Document) -> Document:
            nonlocal done
            if isinstance(value, dict):
                return {name: replaced(item) for name, item in value.items()}
            if isinstance(value, list):
                return [replaced(item) for item in value]
            if isinstance(value, int | float) and not isinstance(value, bool):
                done += 1
                return replacements[done % len(replacements)]
            return value

        for record in _records(document, fault):
            record.setdefault("eTag", 1)
            if fault.session_id is not None:
                record.update(replaced(record))
        whole = document if fault.session_id is not None else replaced(document)
        return dumps(whole).replace(f'"{_HUGE}"', "1e999")

    return corrupt


def _truncated(document: Document, _: Fault, __: Call) -> str:
    text = dumps(document)
    return text[: len(text) // 2]


def _wrong_type_page(document: Document, _: Fault, __: Call) -> str:
    return dumps({**document, "results": {"not": "a list"}})


def _wrong_type_record(document: Document, fault: Fault, _: Call) -> str:
    records = _list_of(document) or []
    records[:] = [
        f"session {number}" if fault.session_id in (None, record["id"]) else record
        for number, record in enumerate(records)
    ]
    return dumps(document)


def _duplicate_ids(document: Document, _: Fault, __: Call) -> str:
    document["results"] += document["results"][:1]
    return dumps(document)


def _empty_list(document: Document, _: Fault, __: Call) -> str:
    document["results"] = []
    document["_links"].pop("next", None)
    return dumps(document)


def _unknown_events(document: Document, _: Fault, __: Call) -> str:
    document["results"] = [*_UNKNOWN_EVENTS, *document["results"]]
    return dumps(document)


def _endless_paging(document: Document, _: Fault, call: Call) -> str:
    """Return the first page (see `handlers`) with a link to a next one."""
    offset = int(call.parameters.get("offset") or 0)
    return dumps({**document, "offset": offset, "_links": _next(document, offset, call)})


def _next_elsewhere(document: Document, fault: Fault, _: Call) -> str:
    links = document["_links"]
    if "next" in links:
        links["next"] = {"href": fault.target + links["next"]["href"]}
    return dumps(document)


def _next(document: Document, offset: int, call: Call) -> Document:
    path, limit = call.request.path, document["limit"]
    href = f"{path}?offset={offset + limit}&limit={limit}"
    return {**document["_links"], "next": {"href": href}}


def _deep_nesting(_: Document, fault: Fault, __: Call) -> str:
    depth = int(fault.value)
    return "[" * depth + "]" * depth


def _of_page(
    corrupt: Callable[[Document, Fault, Call], str],
) -> Callable[[Document, Fault, Call], str]:
    """Leave documents alone that are not pages."""

    def corrupt_page(document: Document, fault: Fault, call: Call) -> str:
        return corrupt(document, fault, call) if "results" in document else dumps(document)

    return corrupt_page


def shift_times(value: Document, ticks: int) -> Document:
    """Return the document with every time shifted by `ticks`, except the sentinel of year 9999."""
    if isinstance(value, dict):
        return {
            name: timestamp(ticks_from_text(item) + ticks)
            if name in _TIMES and isinstance(item, str) and item[:1].isdecimal() and item < "9999"
            else shift_times(item, ticks)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [shift_times(item, ticks) for item in value]
    return value


CORRUPTIONS: dict[str, Callable[[Document, Fault, Call], str | bytes]] = {
    "truncated_json": _truncated,
    "wrong_type_top": lambda *_: json.dumps("a string"),
    "wrong_type_page": _of_page(_wrong_type_page),
    "wrong_type_record": _wrong_type_record,
    "wrong_type_field": _each_record(_wrong_types),
    "nan": _numbers((float("nan"), float("inf"), float("-inf"))),
    "huge_number": _numbers((_HUGE,)),
    "deep_nesting": _deep_nesting,
    "wrong_charset": _wrong_charset,
    "lone_surrogates": _each_record(_append("\ud800")),
    "control_characters": _each_record(_append(_CONTROLS)),
    "nulls": _each_record(_nulls),
    "missing_fields": _each_record(_missing_fields),
    "unknown_enums": _each_record(_unknown_values),
    "duplicate_ids": _of_page(_duplicate_ids),
    "not_uuids": _each_record(_not_uuids),
    "end_before_creation": _each_record(_end_before_creation),
    "feed_unknown_events": _of_page(_unknown_events),
    "empty_list": _of_page(_empty_list),
    "endless_paging": _of_page(_endless_paging),
    "next_to_other_host": _of_page(_next_elsewhere),
}
