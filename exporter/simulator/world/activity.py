"""What happens in a world by itself: its history, and sessions that start, proceed and end."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Protocol

from exporter.simulator.world.population import RESULTS, TYPES, Plan, Population
from exporter.simulator.world.sessions import TICKS_PER_SECOND, Session

_DAY = 86_400 * TICKS_PER_SECOND
_HISTORY_DAYS = 30
_LEFT_OPEN_DAYS = (3, _HISTORY_DAYS)
_LONGEST_FINISHED_SECONDS = 10_800
_RUNNING_AT_START = 8
_SECONDS_BETWEEN_STARTS = (3.0, 15.0)
_SECONDS_BETWEEN_ITEMS = (3.0, 8.0)


class Store(Protocol):
    """Where the sessions are kept."""

    def find(self, session_id: str) -> Session | None:
        """The session with this id, if there is one."""

    def put(self, session: Session) -> None:
        """Keep a new session, or a new version of one."""


def history(now: int, count: int, population: Population, random: Random) -> Iterator[Session]:
    """Finished sessions of the last 30 days; the newest four have every type and result among them."""
    oldest = now - _HISTORY_DAYS * _DAY
    starts = sorted(random.random() for _ in range(count))
    for number, start in enumerate(starts):
        left = count - number
        typical = left > len(TYPES)
        duration = int(10 + random.random() ** 4 * _LONGEST_FINISHED_SECONDS) * TICKS_PER_SECOND
        latest = min(oldest + int(start * _HISTORY_DAYS * _DAY), now - duration)
        created = population.trimmed(latest)
        result = population.result() if typical else RESULTS[left % len(RESULTS)]
        yield population.finished(
            created=created,
            ended=max(created, population.trimmed(latest + duration)),
            type_=population.type() if typical else TYPES[left % len(TYPES)],
            result=result,
            items=population.items(result),
            e_tag=number + 1,
        )


def left_open(now: int, population: Population) -> Iterator[Session]:
    """Two sessions that somebody opened 3 and 30 days ago and never closed."""
    for days in _LEFT_OPEN_DAYS:
        created = population.trimmed(now - days * _DAY - TICKS_PER_SECOND)
        yield replace(population.opened(created), items="orr")


class Activity:
    """Sessions of 10 s to 3 min that start a few seconds apart and deal with item after item until they end."""

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
        self._plan_next_start(now)

    def advance(self, now: int) -> None:
        """Let everything happen that is due by now, in the order of its time."""
        while self._agenda and self._agenda[0][0] <= now:
            at, _, session_id = heapq.heappop(self._agenda)
            if session_id is None:
                self._start(at, self._population.plan())
                self._plan_next_start(at)
            else:
                self._proceed(session_id, at)

    def _plan_next_start(self, at: int) -> None:
        self._enter(at + self._between(_SECONDS_BETWEEN_STARTS), None)

    def _start(self, at: int, plan: Plan) -> None:
        session = self._population.opened(self._population.trimmed(at))
        self._plans[session.id] = plan
        self._store.put(session)
        self._enter(at + self._between(_SECONDS_BETWEEN_ITEMS), session.id)
        self._enter(session.created + plan.duration, session.id)

    def _proceed(self, session_id: str, at: int) -> None:
        session, plan = self._store.find(session_id), self._plans.get(session_id)
        if session is None or plan is None or session.stopped:  # removed or finished by hand
            self._plans.pop(session_id, None)
            return
        if at >= session.created + plan.duration:
            del self._plans[session_id]
            self._store.put(
                self._population.closed(session, at, result=plan.result, items=plan.items)
            )
            return
        done = len(session.items.rstrip("a")) + 1
        if done <= len(plan.items):
            under_way = "a" if done < len(plan.items) else ""
            self._store.put(replace(session, items=plan.items[:done] + under_way))
        self._enter(at + self._between(_SECONDS_BETWEEN_ITEMS), session_id)

    def _between(self, seconds: tuple[float, float]) -> int:
        return int(self._random.uniform(*seconds) * TICKS_PER_SECOND)

    def _enter(self, at: int, session_id: str | None) -> None:
        self._entries += 1  # keeps entries of one moment in order
        heapq.heappush(self._agenda, (at, self._entries, session_id))
