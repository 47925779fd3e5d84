"""One line of the audit log: written from a restore session, and read again as far as its event goes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["BEGINNING", "Event", "Told", "clean", "events_in", "line"]


class Event(StrEnum):
    """What a line tells of."""

    STARTED = "started"
    ENDED = "ended"


class Told(NamedTuple):
    """An event that stands in the log."""

    event: Event
    server: str
    session_id: str


BEGINNING = b'{"time":"'
"""What every line begins with."""

_JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)

_HEAD = re.compile(
    rb'\{"time":"[^"]*","event":"(started|ended)","server":("(?:[^"\\]|\\.)*"),'
    rb'"id":"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"[,}]'
)
_EVENTS = {event.encode(): event for event in Event}
_END = b"}\n"
# What stands in a file whose last blocks were not on the disk when the power failed.
_NEVER_WRITTEN = b"\0"

_SURROGATE = re.compile("[\ud800-\udfff]")


def line(event: Event, server: str, session: RestoreSession, written_at: float) -> bytes:
    """The line of an event, in ASCII and with its newline.

    The order of the fields is fixed, the names are those of the API: `GET /v8/RestoreSessions/{id}`. What is empty
    or not known is left out. Lone surrogates, which are no text, become U+FFFD; control characters are escaped.

    Args:
        event: what is told of.
        server: the server's name in the configuration.
        session: as it is known when that is told.
        written_at: Unix seconds.
    """
    ended = event is Event.ENDED
    fields: dict[str, object] = {
        "time": _instant(datetime.fromtimestamp(written_at, UTC), "milliseconds"),
        "event": event,
        "server": clean(server),
        "id": session.id,
        "name": clean(session.name),
        "organization": clean(session.organization),
        "type": session.type,
        "creationTime": _instant(session.creation_time),
        "endTime": _instant(session.end_time) if session.end_time is not None else None,
        "state": session.state,
        "result": session.result,
        "initiatedBy": clean(session.initiated_by),
        "details": clean(session.details),
        "scopeName": clean(session.scope_name),
        "clientHost": clean(session.client_host),
        "reason": clean(session.reason),
        "eTag": session.e_tag,
        "durationSeconds": session.duration_seconds if ended else None,
        "statistics": _counts(session.statistics),
    }
    known = {name: value for name, value in fields.items() if value is not None and value != ""}
    return _JSON.encode(known).encode("ascii") + b"\n"


def events_in(lines: Iterable[bytes]) -> Iterator[Told | None]:
    """The event of each line; None for a line that is none, or not whole."""
    for one in lines:
        head = _HEAD.match(one)
        if head is None or not one.endswith(_END) or _NEVER_WRITTEN in one:
            yield None
            continue
        yield Told(
            event=_EVENTS[head[1]],
            server=_name(head[2]),
            session_id=head[3].decode(),
        )


def clean(text: str) -> str:
    """Text without lone surrogates, as it stands in the log."""
    return _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=64)
def _name(written: bytes) -> str:
    """A server's name from how it stands in the log."""
    return str(json.loads(written))


def _instant(moment: datetime, precision: str = "microseconds") -> str:
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _counts(statistics: Statistics | None) -> dict[str, int] | None:
    if statistics is None:
        return None
    counts = {
        "restored": statistics.restored,
        "failed": statistics.failed,
        "skipped": statistics.skipped,
    }
    return {name: count for name, count in counts.items() if count is not None} or None
