"""The events of a session, derived from its items: what happened to each item, and when."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import datetime

from exporter.simulator.world.sessions import (
    EVENT_STATUS,
    TICKS_PER_SECOND,
    Session,
    datetime_from_ticks,
)

_OPERATIONS = ("Restore", "Save", "Export", "Send")
_MAX_ITEM_TICKS = TICKS_PER_SECOND // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a session (`GET /v6/RestoreSessions/{id}/Events`); `ended` is None while it is in progress."""

    order: int
    operation: str
    status: str
    size_bytes: int
    started: int
    ended: int | None
    item: int | None = None
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTimes:
    """What the times of a session's events say, truncated to microseconds."""

    last_event: datetime
    """The newest time of any event."""
    active_seconds: float | None
    """From the start of the first event of an item to the end of the last; None without such events."""


def events_of(session: Session) -> list[Event]:
    """Return the events of a session: its start, its items and its end, none of them outside its life."""
    events = [_marker(0, session.created, "Restore session started")]
    for number, (started, ended) in enumerate(item_times(session)):
        letter, draw = session.items[number], _draw(session, number)
        events.append(
            Event(
                order=number + 1,
                operation="View" if letter == "o" else _OPERATIONS[draw % len(_OPERATIONS)],
                status=EVENT_STATUS[letter],
                size_bytes=draw % 200_000,
                started=started,
                ended=ended,
                item=number,
            )
        )
    if session.stopped and session.ended is not None:
        events.append(_marker(len(events), session.ended, "Restore session stopped"))
    return events


def event_times(session: Session) -> EventTimes:
    """Return when the last event of a session was, and how long its items were processed."""
    events = events_of(session)
    items = [event for event in events if event.item is not None]
    active_seconds = None
    if items:
        first = min(event.started for event in items)
        active_seconds = (_newest(items) - datetime_from_ticks(first)).total_seconds()
    return EventTimes(last_event=_newest(events), active_seconds=active_seconds)


def with_items(session: Session, items: str, at: int) -> Session:
    """Return the session with other items; those that it did not have, or that were in progress, end at this moment.

    An item that is in progress now starts at this moment.
    """
    times: list[tuple[int, int | None]] = []
    known = item_times(session)
    latest = session.created
    for number, letter in enumerate(items):
        if number < len(known):
            started, ended = known[number]
        else:
            duration = 0 if letter == "a" else _draw(session, number) % _MAX_ITEM_TICKS
            started, ended = max(latest, at - duration), None
        latest = max(started, at) if ended is None else ended
        times.append((started, None if letter == "a" else latest))
    return replace(session, items=items, item_times=tuple(times))


def with_early_items(session: Session, now: int) -> Session:
    """Return a session whose items followed its creation as closely as those of `item_times`, but not after `now`."""
    latest = max(session.created, now)
    times = [
        (min(started, latest), None if ended is None else min(ended, latest))
        for started, ended in item_times(session)
    ]
    return replace(session, item_times=tuple(times))


def item_times(session: Session) -> tuple[tuple[int, int | None], ...]:
    """Return the start and the end of each item, which is None while it is in progress.

    Items without known times are spread over the life of a session that has ended, and follow the creation of another one.
    """
    times = session.item_times or [_likely_times(session, one) for one in range(len(session.items))]
    if session.ended is None:
        return tuple(times)
    latest = max(session.created, session.ended)
    return tuple(
        (
            max(session.created, min(started, latest)),
            None if ended is None else max(session.created, min(ended, latest)),
        )
        for started, ended in times
    )


def _likely_times(session: Session, number: int) -> tuple[int, int | None]:
    draw = _draw(session, number)
    if session.ended is None:
        pause = 2 * TICKS_PER_SECOND
    else:
        pause = max(0, session.ended - session.created) // (len(session.items) + 1)
    started = session.created + pause * number + pause // 2 + draw % (pause // 4 + 1)
    ended = started + draw % min(_MAX_ITEM_TICKS, pause // 4 + 1)
    return started, None if session.items[number] == "a" else ended


def _draw(session: Session, number: int) -> int:
    """Return a number that is always the same for an item, and another one for others."""
    return zlib.crc32(f"{session.id}/{number}".encode())


def _newest(events: list[Event]) -> datetime:
    """Return the newest time of events."""
    return datetime_from_ticks(
        max(event.started if event.ended is None else event.ended for event in events)
    )


def _marker(order: int, at: int, title: str) -> Event:
    return Event(
        order=order,
        operation="None",
        status="Success",
        size_bytes=0,
        started=at,
        ended=at,
        title=title,
    )
