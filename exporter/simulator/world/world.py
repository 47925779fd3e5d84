"""The restore sessions of a simulated server: a seeded state machine without network access.

Every access first advances the world to the time of its clock, so it needs no thread and develops in the same way however
often it is accessed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from threading import RLock
from typing import TypedDict, Unpack

from exporter.simulator.world.activity import Activity, forgotten_sessions, history
from exporter.simulator.world.events import with_early_items, with_items
from exporter.simulator.world.organizations import organizations_of
from exporter.simulator.world.population import TYPES, Population
from exporter.simulator.world.sessions import Session, check_items, details_of, ticks_from_datetime

Clock = Callable[[], datetime]

_CHANGES_KEPT = 10_000


def utc_now() -> datetime:
    """Return the wall clock time."""
    return datetime.now(UTC)


def accelerated_clock(speed: float, clock: Clock = utc_now) -> Clock:
    """Return a clock that starts at the time of `clock` and runs `speed` times as fast."""
    start = clock()
    return lambda: start + (clock() - start) * speed


class SessionFields(TypedDict, total=False):
    """Attributes of a `Session` that can be set manually; times are aware datetimes."""

    id: str
    name: str
    organization: str | None
    type: str
    creation_time: datetime
    end_time: datetime | None
    state: str
    result: str
    initiated_by: str
    details: str
    scope_name: str
    client_host: str
    reason: str
    items: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of the change feed; `number` increases by one, `e_tag` is None for a deleted session."""

    number: int
    session_id: str
    e_tag: int | None


class World:
    """Finished and running restore sessions that develop by themselves. Thread-safe.

    Args:
        seed: the same seed and clock produce the same world.
        organizations: number of organizations that restore.
        sessions: number of finished sessions in the history of the last 30 days.
        clock: the clock of the world, with aware times.
        activity: whether sessions start, progress and end by themselves.
        minimum: whether the world has at least one session of every type, state and result, two sessions left open 3 and
            30 days ago, and another organization that never restored anything. With False, 0 sessions and no activity
            it is empty.

    Attributes:
        seed: the seed.
        organizations: the organizations, whether or not they restore.

    Raises:
        ValueError: a number is negative.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        organizations: int = 4,
        sessions: int = 200,
        clock: Clock = utc_now,
        activity: bool = True,
        minimum: bool = True,
    ) -> None:
        if organizations < 0 or sessions < 0:
            raise ValueError("organizations and sessions must not be negative")
        if minimum:
            organizations, sessions = max(organizations, 1), max(sessions, len(TYPES))
        self.seed = seed
        self._clock = clock
        self._lock = RLock()
        self.organizations = organizations_of(organizations, never_restored=minimum)
        names = tuple(one.session_name for one in self.organizations[:organizations])
        past = Population(_random(seed, "history"), names)
        self._manual = Population(_random(seed, "by hand"), names)
        now = self.now()
        finished = history(now, sessions, past, _random(seed, "times"))
        self._sessions = {session.id: session for session in finished}
        self._order = sorted((session.created, key) for key, session in self._sessions.items())
        self._changes: deque[Change] = deque(maxlen=_CHANGES_KEPT)
        self._change_number = len(self._sessions)
        for session in forgotten_sessions(now, past) if minimum else ():
            self.put(session)
        self._activity: Activity | None = None
        if activity:
            random = _random(seed, "activity")
            self._activity = Activity(now, Population(random, names), random, self)
        self._changes.clear()
        self.advance()

    # Reading

    def now(self) -> int:
        """Return the time of the world in ticks."""
        return ticks_from_datetime(self._clock())

    def advance(self) -> None:
        """Process everything that is due by now."""
        with self._lock:
            if self._activity is not None:
                self._activity.advance(self.now())

    def session(self, session_id: str) -> Session | None:
        """Return the session with this id (case-insensitive), or None."""
        with self._lock:
            self.advance()
            return self.find(session_id)

    def sessions(
        self, *, created_after: int | None = None, created_before: int | None = None
    ) -> list[Session]:
        """Return sessions, newest first; the bounds (ticks) are exclusive."""
        with self._lock:
            low, high = self._bounds(created_after, created_before)
            return [self._sessions[key] for _, key in reversed(self._order[low:high])]

    def page(
        self,
        offset: int,
        limit: int,
        *,
        created_after: int | None = None,
        created_before: int | None = None,
    ) -> tuple[list[Session], bool]:
        """Return up to `limit` sessions from `offset` on, newest first, and whether more follow."""
        with self._lock:
            low, high = self._bounds(created_after, created_before)
            end = max(low, high - offset)
            start = max(low, end - limit)
            page = [self._sessions[key] for _, key in reversed(self._order[start:end])]
            return page, start > low

    def change_number(self) -> int:
        """Return the number of the latest change."""
        with self._lock:
            return self._change_number

    def changes_since(self, number: int, limit: int) -> list[Change] | None:
        """Return up to `limit` changes after this number, or None if some of them are no longer kept."""
        with self._lock:
            if not self._change_number - len(self._changes) <= number <= self._change_number:
                return None
            first = len(self._changes) - (self._change_number - number)
            last = min(first + limit, len(self._changes))
            return [self._changes[index] for index in range(first, last)]

    # Manual changes

    def add_session(self, **fields: Unpack[SessionFields]) -> str:
        """Add a session and return its id; by default one that is opened now.

        A Stopped session ends now, with details from its `items`, unless the fields specify them.

        Raises:
            ValueError: the id exists already, or `items` has an unknown letter.
        """
        with self._lock:
            self.advance()
            created = fields.get("creation_time")
            opened = self._manual.open_session(
                self.now() if created is None else ticks_from_datetime(created)
            )
            opened = replace(opened, id=fields.pop("id", opened.id).lower())
            if opened.id in self._sessions:
                raise ValueError(f"session {opened.id} exists already")
            added = self._changed(opened, fields)
            if added.ended is None:
                added = with_early_items(added, self.now())
            self.put(added)
            return opened.id

    def change_session(self, session_id: str, **fields: Unpack[SessionFields]) -> None:
        """Change a session; without fields only its eTag changes.

        Stopping a session ends it now, with details from its `items`, unless the fields specify them.

        Raises:
            KeyError: the session does not exist.
            ValueError: the fields contain another id, or `items` has an unknown letter.
        """
        with self._lock:
            self.advance()
            session = self._sessions[session_id.lower()]
            if fields.pop("id", session.id).lower() != session.id:
                raise ValueError("the id of a session cannot be changed")
            items = fields.get("items", session.items)
            if fields.get("state") == "Stopped" and not session.stopped:
                items = fields.setdefault("items", items.rstrip("a"))
            # Known items keep their times, even if the session ends or is dated differently.
            session = with_items(session, items, self.now())
            self.put(self._changed(session, fields))

    def finish(self, session_id: str, result: str = "Success") -> None:
        """Finish a session now.

        Raises:
            KeyError: the session does not exist.
        """
        self.change_session(session_id, state="Stopped", result=result)

    def remove(self, session_id: str) -> None:
        """Delete a session, as the server's history retention does.

        Raises:
            KeyError: the session does not exist.
        """
        with self._lock:
            self.advance()
            session = self._sessions.pop(session_id.lower())
            del self._order[bisect_left(self._order, (session.created, session.id))]
            self._record_change(session.id, None)

    # The store of the activity

    def find(self, session_id: str) -> Session | None:
        """Return the session without advancing the world first."""
        with self._lock:
            return self._sessions.get(session_id.lower())

    def put(self, session: Session) -> None:
        """Add or replace a session under the next eTag."""
        with self._lock:
            before = self._sessions.get(session.id)
            if before is not None and before.created != session.created:
                del self._order[bisect_left(self._order, (before.created, before.id))]
                before = None
            if before is None:
                insort(self._order, (session.created, session.id))
            e_tag = self._change_number + 1
            self._sessions[session.id] = replace(session, e_tag=e_tag)
            self._record_change(session.id, e_tag)

    def _changed(self, session: Session, fields: SessionFields) -> Session:
        """Return the session with these fields and the consequences of stopping it."""
        check_items(fields.get("items", ""))
        attributes: dict[str, object] = dict(fields)
        for name, attribute in (("creation_time", "created"), ("end_time", "ended")):
            if name in attributes:
                moment = attributes.pop(name)
                attributes[attribute] = (
                    ticks_from_datetime(moment) if isinstance(moment, datetime) else None
                )
        if fields.get("state") == "Stopped" and not session.stopped:
            items = fields.get("items", session.items.rstrip("a"))
            created = session.created
            attributes = {
                "items": items,
                "details": details_of(items),
                "ended": max(created, self.now()),
            } | attributes
        return replace(session, **attributes)  # type: ignore[arg-type]  # typed by the TypedDict

    def _bounds(self, after: int | None, before: int | None) -> tuple[int, int]:
        self.advance()
        low = 0 if after is None else bisect_left(self._order, (after + 1, ""))
        high = len(self._order) if before is None else bisect_left(self._order, (before, ""))
        return low, max(low, high)

    def _record_change(self, session_id: str, e_tag: int | None) -> None:
        self._change_number += 1
        self._changes.append(Change(number=self._change_number, session_id=session_id, e_tag=e_tag))


def _random(seed: int, purpose: str) -> Random:
    """Return a separate random source for each purpose, so that they do not affect each other."""
    return Random(f"{seed}/{purpose}")  # noqa: S311 - a repeatable world, nothing secret
