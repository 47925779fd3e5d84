"""What may be said of sessions, read from the bodies that were sent, and from nothing of the exporter's own code."""

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
class Sight:
    """All that is to be seen of one session on `/metrics`."""

    organization: str
    type: str
    state: str
    start: float
    result: str | None = None
    end: float | None = None
    duration: float | None = None
    items: float | None = None


class Told:
    """What a server has said so far."""

    def __init__(self) -> None:
        self._records: dict[str, list[dict[str, Any]]] = {}
        self.organizations = {""}
        self.versions = {""}

    def take(self, body: bytes) -> None:
        """Read a body that is about to be sent; what is no JSON says nothing."""
        try:
            value = json.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return
        for each in _objects(value):
            session_id, organization, version = map(each.get, ("id", "organization", "version"))
            if isinstance(session_id, str):
                self._records.setdefault(session_id.lower(), []).append(each)
            if isinstance(organization, str):
                self.organizations.add(label(organization))
            if isinstance(version, str):
                self.versions.add(label(version))

    def sights(self, session_id: str) -> set[Sight]:
        """What each record of this session would look like."""
        records = self._records.get(session_id, [])
        return {sight for record in records if (sight := _sight(record)) is not None}


def label(text: str) -> str:
    """A text as a label's value: no surrogates and no control characters but newline, at most 512 of them."""
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


def _sight(record: dict[str, Any]) -> Sight | None:
    start = _moment(record.get("creationTime"))
    organization = record.get("organization") or ""
    if start is None or not isinstance(organization, str):
        return None
    state = _STATES.get(str(record.get("state")).lower(), "Unknown")
    stopped = state == "Stopped"
    end = _moment(record.get("endTime")) if stopped else None
    items = _ITEMS.match(str(record.get("details")))
    return Sight(
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
    """The moment of a timestamp; None for what is none, and for the years that mean "never"."""
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
