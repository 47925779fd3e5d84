"""The expected metrics of sessions, derived from the bodies sent, without the exporter's code."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,7})\d*)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_ITEMS = re.compile(r"(\d{1,15}) items? processed\b", re.ASCII)
_TYPES = {"vex": "Vex", "veod": "Veod", "vesp": "Vesp", "vet": "Vet"}
_STATES = {"working": "Working", "stopped": "Stopped"}
_RESULTS = {"success": "Success", "warning": "Warning", "failed": "Failed"}


@dataclass(frozen=True)
class SessionView:
    """One session as shown on `/metrics`."""

    organization: str
    type: str
    state: str
    start: float
    result: str | None = None
    end: float | None = None
    duration: float | None = None
    items: float | None = None


class SentBodies:
    """The records in the bodies that a server has sent so far."""

    def __init__(self) -> None:
        self._records: dict[str, list[dict[str, Any]]] = {}
        self.organizations = {""}
        self.versions = {""}

    def record(self, body: bytes) -> None:
        """Record a body that is about to be sent, if it is JSON."""
        try:
            value = json.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return
        for each in _objects(value):
            session_id, organization, version = map(each.get, ("id", "organization", "version"))
            if isinstance(session_id, str):
                self._records.setdefault(session_id.lower(), []).append(each)
            for name in (organization, each.get("name"), each.get("officeName")):
                if isinstance(name, str):
                    self.organizations.add(label(name))
            if isinstance(version, str):
                self.versions.add(label(version))

    def sessions(self, session_id: str) -> set[SessionView]:
        """Return the views of all records of a session."""
        records = self._records.get(session_id, [])
        return {view for record in records if (view := _view(record)) is not None}


def label(text: str) -> str:
    """Return a text as a label value: at most 512 characters, without surrogates and control characters other than newline."""
    return "".join(
        "\ufffd" if c != "\n" and unicodedata.category(c) in {"Cc", "Cs"} else c for c in text[:512]
    )


def _objects(value: object) -> Iterator[dict[str, Any]]:
    inner: Iterable[object] = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield value
        inner = value.values()
    for each in inner:
        yield from _objects(each)


def _view(record: dict[str, Any]) -> SessionView | None:
    start = _moment(record.get("creationTime"))
    organization = record.get("organization") or ""
    if start is None or not isinstance(organization, str):
        return None
    state = _STATES.get(str(record.get("state")).lower(), "Unknown")
    stopped = state == "Stopped"
    end = _moment(record.get("endTime")) if stopped else None
    items = _ITEMS.match(str(record.get("details")))
    return SessionView(
        organization=label(organization),
        type=_TYPES.get(str(record.get("type")).lower(), "Unknown"),
        state=state,
        start=start.timestamp(),
        result=_RESULTS.get(str(record.get("result")).lower(), "Unknown") if stopped else None,
        end=end.timestamp() if end else None,
        duration=(end - start).total_seconds() if end and end >= start else None,
        items=float(items[1]) if items else None,
    )


def _moment(text: object) -> datetime | None:
    """Parse a timestamp; None if it is invalid or in a year that means "never"."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, time, fraction, offset = found.groups()
    try:
        moment = datetime.strptime(f"{day} {time}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - gets its zone below
    except ValueError:
        return None
    if moment.year in {1, 9999}:
        return None
    microseconds = int((fraction or "0").ljust(6, "0")[:6])
    return moment.replace(microsecond=microseconds, tzinfo=_zone(offset))


def _zone(offset: str | None) -> timezone:
    if offset is None or offset == "Z":
        return UTC
    size = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6]))
    return timezone(-size if offset[0] == "-" else size)
