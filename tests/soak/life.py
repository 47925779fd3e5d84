"""Restore sessions that start, run, end and are deleted, so that there are as many after a week as after a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World

LOOKBACK = timedelta(hours=2)

LEFT_OPEN = 3
"""How many sessions run all the time."""

_ORGANIZATIONS = ("contoso.onmicrosoft.com", "fabrikam.example", "northwind.example", None)
_TYPES = ("Vex", "Veod", "Vesp", "Vet")
_RESULTS = ("Success", "Success", "Warning", "Failed")
_STARTS, _ENDS, _IS_DELETED = 0.5, 0.25, 0.02


class Life:
    """What happens to the sessions of a world that does nothing by itself."""

    def __init__(self, world: World, random: Random, now: datetime) -> None:
        self._world = world
        self._random = random
        self._left_open = {
            world.add_session(type=random.choice(_TYPES), creation_time=now - timedelta(days=days))
            for days in range(3, 3 + LEFT_OPEN)
        }

    def go_on(self, now: datetime) -> None:
        """Let happen what happens between two polls."""
        random = self._random
        if random.random() < _STARTS:
            self._world.add_session(
                organization=random.choice(_ORGANIZATIONS), type=random.choice(_TYPES)
            )
        others = [one for one in self._world.sessions() if one.id not in self._left_open]
        for session in others:
            if not session.stopped:
                if random.random() < _ENDS:
                    self._world.finish(session.id, random.choice(_RESULTS))
            elif has_left(session, now):
                self._world.remove(session.id)
        if others and random.random() < _IS_DELETED:
            session = random.choice(others)
            if self._world.session(session.id) is not None:
                self._world.remove(session.id)


def has_left(session: Session, now: datetime) -> bool:
    """Whether a session ended too long ago to be shown."""
    return session.end_time is not None and session.end_time + LOOKBACK <= now
