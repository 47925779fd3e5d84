"""Which events stand in the audit log already, so that each is written once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from exporter.audit.record import Event, Told
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["Written"]


class Written:
    """The events that were written, by server and session: about 100 bytes per session.

    An end that was written says that the start was, too.
    """

    def __init__(self, told: Iterable[Told] = ()) -> None:
        self._started: defaultdict[str, set[bytes]] = defaultdict(set)
        self._ended: defaultdict[str, set[bytes]] = defaultdict(set)
        for one in told:
            self.add(one)

    def __len__(self) -> int:
        """How many sessions are known."""
        return sum(map(len, (*self._started.values(), *self._ended.values())))

    def missing(self, server: str, session: RestoreSession) -> tuple[Event, ...]:
        """What has happened with the session and is not written, in its order.

        Args:
            server: the server's name as it stands in the log.
            session: as it is known now.
        """
        key = _key(session.id)
        if key in self._ended[server]:
            return ()
        start = () if key in self._started[server] else (Event.STARTED,)
        return (*start, Event.ENDED) if session.stopped else start

    def add(self, told: Told) -> None:
        """An event was written."""
        key = _key(told.session_id)
        if told.event is Event.ENDED:
            self._started[told.server].discard(key)
            self._ended[told.server].add(key)
        elif key not in self._ended[told.server]:
            self._started[told.server].add(key)

    def forget(self, told: Told) -> None:
        """The line of an event is gone; sessions that have not ended stay known."""
        if told.event is Event.ENDED:
            self._ended[told.server].discard(_key(told.session_id))


def _key(session_id: str) -> bytes:
    return bytes.fromhex(session_id.replace("-", ""))
