"""Restore sessions that start, run, end and are deleted at random, in numbers that stay constant over time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from random import Random

from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World

LOOKBACK = timedelta(hours=2)

LEFT_OPEN = 3
"""Number of sessions that run all the time."""

_ORGANIZATIONS = ("contoso.onmicrosoft.com", "fabrikam.example", "northwind.example", None)
_TYPES = ("Vex", "Veod", "Vesp", "Vet")
_RESULTS = ("Success", "Success", "Warning", "Failed")
_START_PROBABILITY, _END_PROBABILITY, _DELETE_PROBABILITY = 0.5, 0.25, 0.02
_AHEAD_PROBABILITY = 0.02
_AHEAD = timedelta(hours=5)


class RandomSessions:
    """Changes the sessions of a world without activity of its own.

    Attributes:
        transitions: number of sessions that have started and finished, as the exporter must count them.
        finished: the sessions that finished last.
        restored: number of items of all sessions that have finished.
    """

    def __init__(self, world: World, random: Random, now: datetime) -> None:
        self.transitions = Counter(started=0, finished=0)
        self.finished: list[str] = []
        self.restored = 0
        self._world = world
        self._random = random
        self._future_session: str | None = None
        self._seen: set[tuple[str, bool]] = set()
        self._left_open = {
            world.add_session(type=random.choice(_TYPES), creation_time=now - timedelta(days=days))
            for days in range(3, 3 + LEFT_OPEN)
        }

    def advance(self, now: datetime) -> None:
        """Make the changes between two polls."""
        random = self._random
        if random.random() < _START_PROBABILITY:
            self._world.add_session(
                organization=random.choice(_ORGANIZATIONS), type=random.choice(_TYPES)
            )
            self.transitions["started"] += 1
        if random.random() < _AHEAD_PROBABILITY:
            self._change_future_session(now)
        self.finished = []
        kept = self._left_open | {self._future_session}
        others = [one for one in self._world.sessions() if one.id not in kept]
        for session in others:
            if not session.stopped:
                if random.random() < _END_PROBABILITY:
                    items = "r" * random.randrange(5)
                    self._world.change_session(
                        session.id, state="Stopped", result=random.choice(_RESULTS), items=items
                    )
                    self.restored += len(items)
                    self.transitions["finished"] += 1
                    self.finished.append(session.id)
            elif is_expired(session, now):
                self._world.remove(session.id)
        if others and random.random() < _DELETE_PROBABILITY:
            current = self._world.session(random.choice(others).id)
            # A session that is deleted before the exporter has seen it is not counted.
            if current is not None and (current.id, current.stopped) in self._seen:
                self._world.remove(current.id)

    def _change_future_session(self, now: datetime) -> None:
        """Start a session that is dated in the future, or remove it."""
        if self._future_session is None:
            self._future_session = self._world.add_session(creation_time=now + _AHEAD)
            self.transitions["started"] += 1
        elif (self._future_session, False) in self._seen:
            self._world.remove(self._future_session)
            self._future_session = None

    def mark_seen(self) -> None:
        """Record that the exporter has read all sessions as they are now."""
        self._seen = {(session.id, session.stopped) for session in self._world.sessions()}


def is_expired(session: Session, now: datetime) -> bool:
    """Whether a session ended before the lookback."""
    return session.end_time is not None and session.end_time + LOOKBACK <= now
