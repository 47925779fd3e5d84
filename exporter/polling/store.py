"""The stored sessions of one server: all running ones, and the finished ones that neither expired nor were evicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain, takewhile

from exporter.config import SessionsConfig
from exporter.polling.blocks import Block, SessionBlocks
from exporter.polling.clock import Moment
from exporter.polling.counters import FinishedCounts
from exporter.polling.history import Seen, SessionHistory
from exporter.polling.lookback import Lookback
from exporter.polling.proven_restores import ProvenRestores
from exporter.polling.snapshot import RunningSession
from exporter.polling.text_budget import TextBudget
from exporter.polling.transition import Transition
from exporter.vb365.records.restore_session import RestoreSession


class SessionStore:
    """Stores sessions in order of creation, expires them by age and evicts the oldest when there are too many.

    Args:
        settings: the configured ids, `lookback` and `max_sessions`.
        time_of_last_list: returns when sessions were last listed, by the server's present clock.

    Attributes:
        running: the running sessions by id; only the store changes it.
        finished: the finished sessions by id; only the store changes it.
        counts: counts over the finished sessions.
        restores: when restores were last proven, by sessions that are not stored as well.
        lookback: decides when finished sessions expire.
    """

    def __init__(
        self,
        settings: SessionsConfig,
        *,
        time_of_last_list: Callable[[Moment], datetime] = lambda moment: moment.wall,
    ) -> None:
        self._configured = frozenset(settings.ids)
        self._max_sessions = settings.max_sessions
        self._history = SessionHistory(
            settings.max_sessions,
            stored_since=self._created_since,
            time_of_last_list=time_of_last_list,
        )
        self._texts = TextBudget(settings.max_sessions)
        self._reopened: set[str] = set()  # running again after a finish that was counted
        self._configured_blocks = SessionBlocks()
        self._discovered_blocks = SessionBlocks()
        self._evicted: list[str] = []
        self.running: dict[str, RunningSession] = {}
        self.finished: dict[str, RestoreSession] = {}
        self.counts = FinishedCounts(self._all_finished)
        self.restores = ProvenRestores(self._all_finished, have_extras=bool(settings.extras))
        self.lookback = Lookback(settings)

    def __len__(self) -> int:
        return len(self.running) + len(self.finished)

    def find(self, session_id: str) -> RestoreSession | None:
        """Return a stored session."""
        running = self.running.get(session_id)
        return running.session if running else self.finished.get(session_id)

    def saw_finish(self, session: RestoreSession) -> bool:
        """Whether the finish of a session was counted, or may have been: it was created no later than a forgotten session."""
        return Seen.FINISHED in self._history.seen(session)

    # Changes

    def set_baseline(self, creation: datetime, moment: Moment) -> None:
        """Count new sessions created after `creation` as started from now on. Later calls have no effect."""
        if not self._history.has_baseline:
            self._history.set_baseline(creation, moment)

    def put(self, session: RestoreSession, moment: Moment) -> Transition:
        """Store a session as the API returned it at `moment`; return what changed."""
        if not session.stopped:
            return self._put_running(session, moment)
        if session.id in self.running or self._history.is_interrupted(session.id):
            return self._finish(session, moment)
        return self._put_finished(session, moment)

    def replace(self, session: RestoreSession) -> None:
        """Replace the record of a stored session with one that has other extras."""
        running = self.running.get(session.id)
        if running is not None:
            self.running[session.id] = replace(running, session=session)
        elif session.id in self.finished:
            blocks = self._blocks_of(session)
            blocks.remove(self.finished[session.id])
            blocks.add(session)
            self.finished[session.id] = session

    def remove(self, session_id: str, moment: Moment) -> None:
        """Remove a session that the server has deleted, if it is stored."""
        running = self._pop_running(session_id)
        if running is not None and session_id not in self._reopened:
            self._history.record(running.session, Seen.INTERRUPTED, moment)
        self._reopened.discard(session_id)
        if session_id in self.finished:
            self._remove_finished(self.finished[session_id])

    def expire(self, moment: Moment) -> list[str]:
        """Remove discovered finished sessions past their lookback; return their ids."""
        old = takewhile(
            lambda session: self.lookback.is_old(session, moment), self._discovered_blocks
        )
        expired = [session for session in old if self.lookback.is_over(session, moment)]
        for session in expired:
            self.lookback.expire(session)
            self._remove_finished(session)
            self.restores.add_other(session)
        return [session.id for session in expired]

    def take_evicted(self) -> list[str]:
        """Return the ids that were evicted or did not fit since the last call."""
        evicted, self._evicted = self._evicted, []
        return evicted

    # Views

    def count_created_since(self, creation: datetime) -> int:
        """Return how many sessions were created at `creation` or later, plus all running ones."""
        return (
            self._configured_blocks.count_since(creation)
            + self._discovered_blocks.count_since(creation)
            + len(self.running)
        )

    def ids_created_since(self, creation: datetime) -> set[str]:
        """Return the ids of the sessions created at `creation` or later."""
        return {session.id for session in self._created_since(creation)}

    def running_newest_first(self) -> tuple[RunningSession, ...]:
        """Return the running sessions, the newest first."""
        return tuple(
            sorted(
                self.running.values(),
                key=lambda running: (running.session.creation_time, running.session.id),
                reverse=True,
            )
        )

    def finished_blocks(self, max_discovered: int | None = None) -> tuple[Block, ...]:
        """Return all configured finished sessions, then the newest discovered ones; without a limit, all."""
        return self._configured_blocks.newest() + self._discovered_blocks.newest(max_discovered)

    def organizations(self) -> set[str]:
        """Return the organizations of all sessions."""
        running = (one.session for one in self.running.values())
        return {session.organization for session in chain(running, self.finished.values())}

    @property
    def has_baseline(self) -> bool:
        """Whether the baseline is set."""
        return self._history.has_baseline

    @property
    def discovered_finished_count(self) -> int:
        """Number of finished sessions that were discovered rather than configured."""
        return len(self._discovered_blocks)

    # What a record means

    def _put_running(self, session: RestoreSession, moment: Moment) -> Transition:
        self.lookback.forget_expired((session.id,))
        configured = session.id in self._configured
        finished = self.finished.get(session.id)
        if finished is not None:
            self._remove_finished(finished)
            self._reopened.add(session.id)
            transition = Transition.REOPENED
        elif self._pop_running(session.id) is not None:
            transition = Transition.UNCHANGED
        elif configured or self._evict_oldest(1, moment):
            transition = Transition.FOUND
            if self._history.take_new(session, moment):
                transition = Transition.STARTED
            elif Seen.FINISHED in self._history.seen(session):
                self._reopened.add(session.id)
        else:
            self._evicted.append(session.id)
            return Transition.IGNORED
        self.running[session.id] = RunningSession(
            session=session, confirmed_at=moment.monotonic, configured=configured
        )
        self._texts.add(session)
        self._evict_oldest(0, moment)
        return transition

    def _pop_running(self, session_id: str) -> RunningSession | None:
        running = self.running.pop(session_id, None)
        if running is not None:
            self._texts.remove(running.session)
        return running

    def _finish(self, session: RestoreSession, moment: Moment) -> Transition:
        """Store a session that was running."""
        self._pop_running(session.id)
        if self.lookback.includes(session, moment):
            self.restores.await_extras(session, moment.monotonic)
            self._add_finished(session, moment)
            if session.id not in self._configured:
                self._evict_oldest(0, moment)
        if session.id in self._reopened:
            self._reopened.discard(session.id)
            return Transition.FINISHED_AGAIN
        self._history.record(session, Seen.FINISHED, moment)
        return Transition.FINISHED

    def _put_finished(self, session: RestoreSession, moment: Moment) -> Transition:
        if session.id in self.lookback.expired and self.lookback.is_over(session, moment):
            return Transition.IGNORED
        known = self.finished.get(session.id)
        if known == session:
            return Transition.UNCHANGED  # if it is past its lookback, the next poll makes it expire
        if not self.lookback.includes(session, moment):
            if known is not None:  # the server corrected its times
                self._remove_finished(known)
                return Transition.EXPIRED
            # It may have run while the server could not be polled for longer than the lookback.
            is_new = self._history.take_new(session, moment)
            return Transition.RAN if is_new else Transition.EXPIRED
        if known is None:
            is_new = self._history.take_new(session, moment)
            transition = Transition.RAN if is_new else Transition.FOUND
            if is_new:
                self.restores.await_extras(session, moment.monotonic)
            self._add_finished(session, moment)
            if session.id not in self._configured:
                self._evict_oldest(0, moment)
            return transition
        self._unlist(known)
        has_ended_again = session.has_ended_again_since(known)
        if has_ended_again:
            self.restores.await_extras(session, moment.monotonic)
        self._add_finished(session, moment)
        self._evict_oldest(0, moment)
        return Transition.FINISHED_AGAIN if has_ended_again else Transition.CORRECTED

    def _add_finished(self, session: RestoreSession, moment: Moment) -> None:
        self.finished[session.id] = session
        self.lookback.begin(session, moment)
        self.counts.add(session)
        self.restores.add(session)
        self._texts.add(session)
        self._blocks_of(session).add(session)

    def _remove_finished(self, session: RestoreSession) -> None:
        del self.finished[session.id]
        self.lookback.end(session)
        self._unlist(session)

    def _unlist(self, session: RestoreSession) -> None:
        self._blocks_of(session).remove(session)
        self._texts.remove(session)
        self.counts.remove(session)
        self.restores.remove(session)

    def _evict_oldest(self, room_for: int, moment: Moment) -> bool:
        """Evict the oldest discovered finished sessions to make room; return whether there is room."""
        while (
            len(self.running) + len(self.finished) + room_for > self._max_sessions
            or self._texts.is_exceeded
        ):
            if not self._discovered_blocks:
                return False
            oldest = self._discovered_blocks.oldest()
            self._remove_finished(oldest)
            self.restores.add_other(oldest)
            self._history.mark_evicted(oldest, moment)
            self._evicted.append(oldest.id)
        return True

    def _created_since(self, creation: datetime) -> Iterator[RestoreSession]:
        return chain(
            self._configured_blocks.created_since(creation),
            self._discovered_blocks.created_since(creation),
            (one.session for one in self.running.values() if one.session.creation_time >= creation),
        )

    def _all_finished(self) -> Iterator[RestoreSession]:
        return chain(self._configured_blocks, self._discovered_blocks)

    def _blocks_of(self, session: RestoreSession) -> SessionBlocks:
        return (
            self._configured_blocks if session.id in self._configured else self._discovered_blocks
        )
