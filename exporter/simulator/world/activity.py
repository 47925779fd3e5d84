"""The activity of a world: its history, and sessions that start, progress and end."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Protocol

from exporter.simulator.world.events import with_items
from exporter.simulator.world.population import TYPES, Plan, Population
from exporter.simulator.world.sessions import TICKS_PER_SECOND, Session

_DAY = 86_400 * TICKS_PER_SECOND
_HISTORY_DAYS = 30
_FORGOTTEN_DAYS = (3, _HISTORY_DAYS)
_LONGEST_FINISHED_SECONDS = 10_800
_NEWEST = (
    # Result, and items if they are not random: nothing was done, or only looked at.
    ("Success", ""),
    ("Success", "oo"),
    ("Failed", None),
    ("Warning", None),
)
_RUNNING_AT_START = 8
_SECONDS_BETWEEN_STARTS = (3.0, 15.0)
_SECONDS_BETWEEN_ITEMS = (3.0, 8.0)


class Store(Protocol):
    """Holds the sessions."""

    def find(self, session_id: str) -> Session | None:
        """Return the session with this id, or None."""

    def put(self, session: Session) -> None:
        """Add a session or replace it."""


def history(now: int, count: int, population: Population, random: Random) -> Iterator[Session]:
    """Yield finished sessions of the last 30 days.

    The newest four include every type and result, one in which nothing was done, and one in which items were only viewed.
    """
    oldest = now - _HISTORY_DAYS * _DAY
    starts = sorted(random.random() for _ in range(count))
    for number, start in enumerate(starts):
        left = count - number
        typical = left > len(_NEWEST)
        duration = int(10 + random.random() ** 4 * _LONGEST_FINISHED_SECONDS) * TICKS_PER_SECOND
        latest = min(oldest + int(start * _HISTORY_DAYS * _DAY), now - duration)
        created = population.truncate(latest)
        result, items = (population.result(), None) if typical else _NEWEST[-left]
        yield population.finished_session(
            created=created,
            ended=max(created, population.truncate(latest + duration)),
            type_=population.type() if typical else TYPES[left % len(TYPES)],
            result=result,
            items=population.items(result) if items is None else items,
            e_tag=number + 1,
        )


def forgotten_sessions(now: int, population: Population) -> Iterator[Session]:
    """Yield two sessions that were opened 3 and 30 days ago and never closed."""
    for days in _FORGOTTEN_DAYS:
        created = population.truncate(now - days * _DAY - TICKS_PER_SECOND)
        yield replace(population.open_session(created), items="orr")


class Activity:
    """Sessions of 10 s to 3 min that start a few seconds apart and process items until they end."""

    def __init__(self, now: int, population: Population, random: Random, store: Store) -> None:
        self._population = population
        self._random = random
        self._store = store
        self._agenda: list[tuple[int, int, str | None]] = []
        self._entries = 0
        self._plans: dict[str, Plan] = {}
        for _ in range(_RUNNING_AT_START):
            plan = population.plan()
            age = random.random() * plan.duration_seconds
            self._start(now - int(age * TICKS_PER_SECOND), plan)
        self._schedule_start(now)

    def advance(self, now: int) -> None:
        """Process everything that is due by now, in order of time."""
        while self._agenda and self._agenda[0][0] <= now:
            at, _, session_id = heapq.heappop(self._agenda)
            if session_id is None:
                self._start(at, self._population.plan())
                self._schedule_start(at)
            else:
                self._progress(session_id, at)

    def _schedule_start(self, at: int) -> None:
        self._schedule(at + self._between(_SECONDS_BETWEEN_STARTS), None)

    def _start(self, at: int, plan: Plan) -> None:
        session = self._population.open_session(self._population.truncate(at))
        self._plans[session.id] = plan
        self._store.put(session)
        self._schedule(at + self._between(_SECONDS_BETWEEN_ITEMS), session.id)
        self._schedule(session.created + plan.duration, session.id)

    def _progress(self, session_id: str, at: int) -> None:
        session, plan = self._store.find(session_id), self._plans.get(session_id)
        if session is None or plan is None or session.stopped:  # removed or finished manually
            self._plans.pop(session_id, None)
            return
        if at >= session.created + plan.duration:
            del self._plans[session_id]
            self._store.put(
                self._population.close_session(
                    with_items(session, plan.items, at), at, result=plan.result
                )
            )
            return
        done = len(session.items.rstrip("a")) + 1
        if done <= len(plan.items):
            in_progress = "a" if done < len(plan.items) else ""
            self._store.put(with_items(session, plan.items[:done] + in_progress, at))
        self._schedule(at + self._between(_SECONDS_BETWEEN_ITEMS), session_id)

    def _between(self, seconds: tuple[float, float]) -> int:
        return int(self._random.uniform(*seconds) * TICKS_PER_SECOND)

    def _schedule(self, at: int, session_id: str | None) -> None:
        self._entries += 1  # keeps simultaneous entries in order
        heapq.heappush(self._agenda, (at, self._entries, session_id))
