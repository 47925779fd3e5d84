"""Restore sessions that start, run, end and are deleted at random, in numbers that stay constant over time."""

from __future__ import annotations

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


class RandomSessions:
    """Changes the sessions of a world without activity of its own."""

    def __init__(self, world: World, random: Random, now: datetime) -> None:
        self._world = world
        self._random = random
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
        others = [one for one in self._world.sessions() if one.id not in self._left_open]
        for session in others:
            if not session.stopped:
                if random.random() < _END_PROBABILITY:
                    self._world.finish(session.id, random.choice(_RESULTS))
            elif is_expired(session, now):
                self._world.remove(session.id)
        if others and random.random() < _DELETE_PROBABILITY:
            session = random.choice(others)
            if self._world.session(session.id) is not None:
                self._world.remove(session.id)


def is_expired(session: Session, now: datetime) -> bool:
    """Whether a session ended before the lookback."""
    return session.end_time is not None and session.end_time + LOOKBACK <= now
