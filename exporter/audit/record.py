"""The lines of the audit log: formatting an event of a restore session, and parsing it back."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from exporter.text import format_instant, replace_surrogates
from exporter.vb365.records.restore_session import RestoreSession


class Event(StrEnum):
    """What happened to a restore session."""

    STARTED = "started"
    ENDED = "ended"


class LoggedEvent(NamedTuple):
    """An event that the audit log contains."""

    event: Event
    server: str
    session_id: str


LINE_PREFIX = b'{"time":"'
"""The first bytes of every line."""

_AFTER_TIME = b',"event":"'
"""What follows the time; JSON logs of other programs start with a time, too."""
LINE_START_BYTES = 64
"""A line has no more bytes than this before the value of its event."""

_JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)

_LINE_START = re.compile(
    rb'\{"time":"[^"]*","event":"(started|ended)","server":("(?:[^"\\]|\\.)*"),'
    rb'"id":"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"[,}]'
)
_LINE_END = b"}\n"
# After a power failure a file may contain NUL bytes in place of blocks that never reached the disk.
_LOST_BLOCK = b"\0"
MAX_LOST_BYTES = 2**20
"""A file that begins with more of them is another kind of file, such as the image of a disk."""


def format_line(event: Event, server: str, session: RestoreSession, written_at: float) -> bytes:
    """Format an event as one line of ASCII, newline included.

    The order of the fields is fixed; most have their names in the API (`GET /v8/RestoreSessions/{id}`). Empty and unknown
    fields are left out, lone surrogates become U+FFFD, control characters are escaped.

    Args:
        event: the event.
        server: the server's name in the configuration.
        session: the session when the event was observed.
        written_at: the current time, in Unix seconds.
    """
    ended = event is Event.ENDED
    fields: dict[str, object] = {
        "time": format_instant(datetime.fromtimestamp(written_at, UTC), "milliseconds"),
        "event": event,
        "server": replace_surrogates(server),
        "id": session.id,
        "name": replace_surrogates(session.name),
        "organization": replace_surrogates(session.organization),
        "type": session.type,
        "creationTime": format_instant(session.creation_time, "microseconds"),
        "endTime": format_instant(session.end_time, "microseconds") if session.end_time else None,
        "state": session.state,
        "result": session.result,
        "initiatedBy": replace_surrogates(session.initiated_by),
        "details": replace_surrogates(session.details),
        "scopeName": replace_surrogates(session.scope_name),
        "clientHost": replace_surrogates(session.client_host),
        "reason": replace_surrogates(session.reason),
        "eTag": session.e_tag,
        "durationSeconds": session.duration_seconds if ended else None,
        "statistics": session.statistics.by_outcome() or None if session.statistics else None,
    }
    known = {name: value for name, value in fields.items() if value is not None and value != ""}
    return _JSON.encode(known).encode("ascii") + b"\n"


def parse_lines(lines: Iterable[bytes]) -> Iterator[LoggedEvent | None]:
    """Parse the event of each line; None stands for a line that is not an audit event or is incomplete."""
    for line in lines:
        start = _LINE_START.match(line)
        if start is None or not line.endswith(_LINE_END) or _LOST_BLOCK in line:
            yield None
        else:
            yield LoggedEvent(Event(start[1].decode()), _parse_name(start[2]), start[3].decode())


def is_start_of_log(start: bytes) -> bool:
    """Return whether a file that starts with these bytes is an audit log, perhaps with lost blocks or an incomplete line.

    Args:
        start: the whole file, or at least `LINE_START_BYTES` of it; if the first is NUL, at least `MAX_LOST_BYTES` and a
            line.
    """
    content = start.lstrip(_LOST_BLOCK)
    if len(start) - len(content) > MAX_LOST_BYTES:
        return False
    if content != start and not content.startswith(LINE_PREFIX):
        # The block after a lost one may begin inside a line.
        content = content.partition(b"\n")[2] or content
    rest = content[len(LINE_PREFIX) :].partition(b'"')[2]
    return _agrees(content, LINE_PREFIX) and _agrees(rest, _AFTER_TIME)


def _agrees(text: bytes, expected: bytes) -> bool:
    """Return whether the text starts with what is expected, or ends before it differs."""
    return expected.startswith(text[: len(expected)])


class EventIndex:
    """The events in the audit log, by server and session; takes about 100 bytes per session.

    A logged end implies a logged start.
    """

    def __init__(self, events: Iterable[LoggedEvent] = ()) -> None:
        self._last: defaultdict[str, dict[bytes, Event]] = defaultdict(dict)
        for event in events:
            self.add(event)

    def __len__(self) -> int:
        """Return the number of sessions."""
        return sum(map(len, self._last.values()))

    def unlogged(self, server: str, session: RestoreSession) -> tuple[Event, ...]:
        """Return the events of a session, given in its newest state, that are not logged yet, in chronological order."""
        last = self._last[server].get(_key(session.id))
        if last is Event.ENDED:
            return ()
        start = () if last else (Event.STARTED,)
        return (*start, Event.ENDED) if session.stopped else start

    def add(self, logged: LoggedEvent) -> None:
        """Add a logged event."""
        sessions, key = self._last[logged.server], _key(logged.session_id)
        if logged.event is Event.ENDED or key not in sessions:
            sessions[key] = logged.event


def _key(session_id: str) -> bytes:
    return bytes.fromhex(session_id.replace("-", ""))


@lru_cache(maxsize=64)
def _parse_name(literal: bytes) -> str:
    return str(json.loads(literal))
