"""The sessions of one server that are kept: those that run, and those that ended and have not left yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, takewhile

from exporter.config import SessionsConfig
from exporter.polling.blocks import Block, SessionBlocks
from exporter.polling.clock import Moment
from exporter.polling.counters import FinishedCounts
from exporter.polling.snapshot import RunningSession
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["SessionStore"]

# No date comes after this: an endTime far in the future and a long lookback do not add up to one.
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


class SessionStore:
    """Keeps sessions in the order of their creation, and parts with them by age and by number."""

    def __init__(self, settings: SessionsConfig) -> None:
        self._configured = frozenset(settings.ids)
        self._lookback = timedelta(seconds=settings.lookback)
        self._most = settings.max_sessions
        self._running: dict[str, RunningSession] = {}
        self._finished: dict[str, RestoreSession] = {}
        self._configured_blocks = SessionBlocks()
        self._discovered_blocks = SessionBlocks()
        self._seen_stopped: dict[str, datetime] = {}  # where nothing in the record tells when
        self.departed: set[str] = set()
        """Those that left by age, though nothing in their records tells how old they are."""
        self.evicted_through: datetime | None = None
        """The creationTime of the newest that was left out for want of room."""
        self.ended = FinishedCounts()
        """Counts over those that ended."""

    def __len__(self) -> int:
        return len(self._running) + len(self._finished)

    @property
    def running(self) -> Mapping[str, RunningSession]:
        """Those that run, by id."""
        return self._running

    @property
    def finished(self) -> Mapping[str, RestoreSession]:
        """Those that ended, by id."""
        return self._finished

    def find(self, session_id: str) -> RestoreSession | None:
        """The session with this id, None when it is not kept."""
        running = self._running.get(session_id)
        return running.session if running else self._finished.get(session_id)

    # Coming and going

    def keep_running(self, session: RestoreSession, moment: Moment) -> None:
        """Keep one that was seen running at this moment."""
        self._running[session.id] = RunningSession(
            session=session,
            confirmed_at=moment.monotonic,
            configured=session.id in self._configured,
        )

    def keep_finished(self, session: RestoreSession, moment: Moment) -> None:
        """Keep one that ended, perhaps in place of another record of it."""
        seen_stopped = self._seen_stopped.get(session.id, moment.wall)
        if session.id in self._finished:
            self.drop_finished(self._finished[session.id])
        self._finished[session.id] = session
        if session.end_time is None:
            self._seen_stopped[session.id] = seen_stopped
        self.ended.add(session)
        self._blocks_of(session).add(session)

    def renew(self, session: RestoreSession) -> None:
        """Put the same session, with other extras, in place of the one that is kept, if it is."""
        running = self._running.get(session.id)
        if running is not None:
            self._running[session.id] = RunningSession(
                session=session, confirmed_at=running.confirmed_at, configured=running.configured
            )
        elif session.id in self._finished:
            self._blocks_of(session).remove(self._finished[session.id])
            self._finished[session.id] = session
            self._blocks_of(session).add(session)

    def drop_running(self, session_id: str) -> None:
        """Keep one that ran no more, if it is kept."""
        self._running.pop(session_id, None)

    def drop_finished(self, session: RestoreSession) -> None:
        """Keep one that ended no more.

        Raises:
            KeyError: it is not kept.
        """
        del self._finished[session.id]
        self._seen_stopped.pop(session.id, None)
        self._blocks_of(session).remove(session)
        self.ended.remove(session, chain(self._configured_blocks, self._discovered_blocks))

    def let_leave(self, moment: Moment) -> list[str]:
        """Part with the sessions whose lookback is over, and return their ids. None of them was created within it."""
        old = takewhile(
            lambda session: moment.wall - session.creation_time >= self._lookback,
            self._discovered_blocks,
        )
        leaving = [session for session in old if self._leaves_at(session, moment) <= moment.wall]
        for session in leaving:
            self.drop_finished(session)
            if session.end_time is None:
                self.departed.add(session.id)
        return [session.id for session in leaving]

    def make_room(self, for_sessions: int) -> list[str] | None:
        """Leave out the oldest that ended until so many more can be kept.

        Returns:
            The ids of those that were left out; None when that does not help.
        """
        left_out = []
        while len(self) + for_sessions > self._most:
            if not self._discovered_blocks:
                return None
            oldest = self._discovered_blocks.oldest()
            self.drop_finished(oldest)
            self.evicted_through = max(
                oldest.creation_time, self.evicted_through or oldest.creation_time
            )
            left_out.append(oldest.id)
        return left_out

    # What they are like

    def stays(self, session: RestoreSession, moment: Moment) -> bool:
        """Whether one that ended is still to be kept: for `lookback`, or as long as the configuration names it."""
        return (
            moment.wall - session.creation_time < self._lookback
            or session.id in self._configured
            or self._leaves_at(session, moment) > moment.wall
        )

    def created_since(self, creation: datetime) -> int:
        """How many were created at this moment or later, give or take those that run."""
        return (
            self._configured_blocks.count_since(creation)
            + self._discovered_blocks.count_since(creation)
            + len(self._running)
        )

    def running_newest_first(self) -> tuple[RunningSession, ...]:
        """Those that run."""
        return tuple(
            sorted(
                self._running.values(),
                key=lambda running: (running.session.creation_time, running.session.id),
                reverse=True,
            )
        )

    def finished_blocks(self, most_discovered: int) -> tuple[Block, ...]:
        """Those that ended and that the configuration names, and the newest of the others."""
        return self._configured_blocks.newest() + self._discovered_blocks.newest(most_discovered)

    @property
    def discovered_finished(self) -> int:
        """How many ended and are not named by the configuration."""
        return len(self._discovered_blocks)

    def _blocks_of(self, session: RestoreSession) -> SessionBlocks:
        return (
            self._configured_blocks if session.id in self._configured else self._discovered_blocks
        )

    def _leaves_at(self, session: RestoreSession, moment: Moment) -> datetime:
        ended = session.end_time or self._seen_stopped.get(session.id, moment.wall)
        ended = max(ended, session.creation_time)  # the two may contradict
        return ended + min(self._lookback, _LAST_MOMENT - ended)
