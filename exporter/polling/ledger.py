"""The restore sessions of one server, and which to request next. Does no I/O and reads no clock.

* Only a Stopped session is finished. Until then, each poll confirms it, by id if no list shows it, however old it is.
* A finished session is not polled. It is fetched again only if the change feed, a list or the hourly check gives reason.
* New sessions are found by their creationTime, compared with others and with the server's own time, not with our clock.
* Counters count only what the exporter saw happen. Sessions in the first complete list (the baseline) are not counted.
* A finish counts when its end is written, or a minute later: the result of a session may be written after its state.
* A session is deleted if a list of the same poll confirms a 404 by id, or if two full lists lack too many to fetch each.
* A session is counted at most once, as long as its state lives, even if it expired, was evicted or deleted, and returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from math import inf
from types import MappingProxyType

from exporter.config import SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.configured_ids import ConfiguredIds
from exporter.polling.counters import ActivityCounters
from exporter.polling.extras import Extras
from exporter.polling.organization_limit import OrganizationLimit
from exporter.polling.plan import DiscoveryWindow, ListRequest, cheaper_list
from exporter.polling.resync import ListLoss, Resync
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.polling.store import SessionStore
from exporter.polling.transition import (
    CANCELLING,
    CHANGES,
    COUNTED_FINISHES,
    COUNTED_STARTS,
    FINISHES,
    NEW_TO_STORE,
    Transition,
)
from exporter.polling.unwritten_finishes import UnwrittenFinishes
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.restore_session import RestoreSession

_MAX_CHANGES_EVICTED = 10_000  # beyond it, the changes of evicted sessions are dropped


class Ledger:
    """The sessions of one server. Only its poll thread uses it, except for `EventPlaces.take_paused`; others read snapshots.

    Args:
        server: the server's name.
        settings: which sessions to follow, and how many.
        stale_after_seconds: how long data is kept without confirmation; a reload may change it.

    Attributes:
        activity: the organizations and their counters.
        resync: what the lists of a poll prove.
        extras: the extras of the sessions.
        sessions_listed: how many sessions the last full list had; None before the first.
    """

    def __init__(self, server: str, settings: SessionsConfig, stale_after_seconds: float) -> None:
        self._server = server
        self._settings = settings
        self.stale_after_seconds = stale_after_seconds
        self._window = DiscoveryWindow()
        self._store = SessionStore(settings, time_of_last_list=self._window.time_of_last_list)
        self._configured = ConfiguredIds(settings.ids, self._store)
        self.resync = Resync(self._store, settings)
        self.activity = ActivityCounters(settings)
        self._limit = OrganizationLimit(self.activity, self._store, self.resync, settings)
        self._changed: dict[str, RestoreSession] = {}
        self._unwritten = UnwrittenFinishes(self.activity.count_finished)
        self._finished_confirmed_at = self._list_confirmed_at = -inf
        self._poll_started_at = self._observed_at = -inf
        self.extras = Extras(self._store, settings, self.activity.restored)
        self.sessions_listed: int | None = None

    # What to request

    def begin_poll(self, moment: Moment) -> None:
        """Start a poll: only responses from now on confirm what it has to confirm."""
        self._poll_started_at = moment.monotonic
        self._limit.begin_poll()
        for session_id in self._store.expire(self.resync.begin_poll(moment)):
            self.extras.discard(session_id)
        self.resync.request_by_id(self._unwritten.ids() & self._store.finished.keys())
        if not self._settings.discover and self.resync.is_due(moment):
            self.resync.to_fetch.update(self._store.finished)

    def due_lists(self, moment: Moment) -> tuple[ListRequest, ...]:
        """Return the lists to request in this poll, in order; empty without discovery."""
        if not self._settings.discover:
            return ()
        full = ListRequest(created_since=None)
        created_since = self._window.created_since(moment)
        if not self._store.has_baseline or created_since is None:
            return (full,)
        recent = self.resync.late_lists.request(created_since)
        return (recent, full) if self.resync.is_due(moment) else (recent,)

    def unconfirmed(self) -> tuple[str, ...]:
        """Return the ids that this poll must confirm and has not confirmed yet."""
        since = self._poll_started_at
        running = (key for key, one in self._store.running.items() if one.confirmed_at < since)
        configured = self._configured.unconfirmed(since)
        return tuple(dict.fromkeys(chain(running, configured, self.resync.to_fetch)))

    def cheaper_list(self, session_ids: Iterable[str]) -> ListRequest | None:
        """Return a list that costs the server less than fetching these sessions by id, or None."""
        found = {key: self._store.find(key) for key in session_ids}
        creations = [one.creation_time for one in found.values() if one is not None]
        unknown = [key for key, one in found.items() if one is None]
        unknown_creations = len(unknown) - sum(map(self._configured.is_not_found, unknown))
        return cheaper_list(creations, unknown_creations, self._store.count_created_since)

    # Responses

    def begin_list(self, request: ListRequest) -> None:
        """Start reading a list."""
        self.resync.begin_list(request)

    def observe(self, sessions: Sequence[RestoreSession], moment: Moment) -> None:
        """Process the sessions of a response, which is a page of a list or a single session."""
        if not self._settings.discover:
            sessions = [session for session in sessions if session.id in self._configured]
        ids = {session.id for session in sessions}
        self._configured.mark_found(ids)
        self.resync.to_fetch -= ids
        self._store.restores.set_now(moment.wall)
        for session in sessions:
            self._observed_at = moment.monotonic
            self._window.observe(session.creation_time, moment)
            if (accepted := self._limit.admit(session, moment)) is not None:
                self._put(self.extras.with_known_extras(accepted), moment)

    def _put(self, session: RestoreSession, moment: Moment) -> None:
        transition = self._store.put(session, moment)
        if session.id not in self._store.finished and session.stopped:
            self._store.restores.add_other(session, has_final_extras=transition not in FINISHES)
        within = transition not in FINISHES or self._store.lookback.includes(session, moment)
        if transition is not Transition.EXPIRED and within:
            self.resync.add_listed(session.id, was_stored=transition not in NEW_TO_STORE)
        if transition is not Transition.UNCHANGED:
            self._react(session, transition, moment)

    def _react(self, session: RestoreSession, transition: Transition, moment: Moment) -> None:
        """Update the counters and pending requests for a transition."""
        if transition in COUNTED_STARTS:
            self.activity.count_started(session)
        if transition in COUNTED_FINISHES:
            self.activity.expect(session)
        else:
            self.activity.count_awaited_duration(session)
        if transition in FINISHES:
            self._unwritten.add(session, moment, is_counted=transition not in COUNTED_FINISHES)
        else:
            self._unwritten.update(session)
        self.extras.follow(session, transition, moment)
        if transition in CHANGES:
            self._changed[session.id] = session
        if transition in CANCELLING:
            self._discard(session.id)
        for evicted_id in self._store.take_evicted():
            self._discard(evicted_id)
            self.resync.count_not_kept(evicted_id, observed_id=session.id)
            if len(self._changed) > _MAX_CHANGES_EVICTED:
                self._changed.pop(evicted_id, None)

    def end_list(self, request: ListRequest, moment: Moment) -> ListLoss | None:
        """End a list that was read as far as needed; return the loss if it is a full list that lacks many sessions."""
        deleted, loss = self.resync.end_list(moment)
        if request.max_pages is not None:
            return None
        self._finished_confirmed_at = self._list_confirmed_at = moment.monotonic
        self._window.end_list(request, requested_at=self._poll_started_at, moment=moment)
        if request.is_full:
            for session_id in deleted:
                self._remove(session_id, moment)
            if self.resync.shows_all and (loss is None or loss.believed):
                self._limit.end_full_list()
                self.activity.forget_organizations(moment.monotonic - self._settings.lookback)
            # A list whose records are all unreadable does not show which sessions are new later.
            if self._window.newest is not None or not self.resync.is_incomplete:
                self._set_baseline(moment)
        return loss

    def _set_baseline(self, moment: Moment) -> None:
        creation = self._window.baseline(moment, requested_at=self._poll_started_at)
        self._store.set_baseline(creation, moment)

    def confirm_finished(self, moment: Moment) -> None:
        """Confirm the finished sessions because the server responded in a poll without a list."""
        self._finished_confirmed_at = moment.monotonic
        if self._store.has_baseline:
            self._list_confirmed_at = moment.monotonic

    def mark_not_found(self, session_id: str, moment: Moment) -> bool:
        """Process a 404 by id; return whether it is believed, because a list of the same poll agrees."""
        if not self.resync.confirms_deletion(session_id):
            return False
        self._remove(session_id, moment)
        self._configured.mark_not_found(session_id, moment)
        return True

    def end_poll(self, moment: Moment, *, succeeded: bool) -> None:
        """End a poll; `succeeded` is whether everything that it requested was received."""
        self.resync.abort_list()
        self.resync.to_fetch -= self._unwritten.settle_overdue(
            moment, poll_started_at=self._poll_started_at
        )
        if self._settings.discover:
            if not self._store.has_baseline and self._observed_at >= self._poll_started_at:
                # Sessions of an aborted first list are real and may be shown; counts of them would be too low.
                self._finished_confirmed_at = moment.monotonic
        elif succeeded:
            self._set_baseline(moment)
            self._list_confirmed_at = self._finished_confirmed_at
            if self.resync.is_due(moment):
                self.resync.succeed(moment)
        self.extras.drop_stale(moment, self.stale_after_seconds)

    # Between polls

    def ids_to_fetch(self, changes: Iterable[SessionChange]) -> tuple[str, ...]:
        """Return the ids that change-feed events require to fetch, those of stored sessions first.

        Deletions are not among them: only the lists of a poll can confirm them.
        """
        updates = (one for one in changes if one.kind is ChangeKind.UPDATE)
        unseen = [change.session_id for change in updates if self._is_unseen(change)]
        return tuple(sorted(unseen, key=lambda session_id: not self.find(session_id)))

    def find(self, session_id: str) -> RestoreSession | None:
        """Return a stored session as it was last received."""
        return self._store.find(session_id)

    def _is_unseen(self, change: SessionChange) -> bool:
        if not self._settings.discover and change.session_id not in self._configured:
            return False
        known = self._store.find(change.session_id)
        return known is None or change.e_tag is None or known.e_tag != change.e_tag

    # Results

    def take_changed(self) -> tuple[RestoreSession, ...]:
        """Return the current records of the sessions found, started or finished since the last call.

        A session whose record is incomplete at its finish is returned later, when it is complete, or after a minute.
        """
        later = self._unwritten.ids() & self._changed.keys()
        later_changed = {session_id: self._changed.pop(session_id) for session_id in later}
        changed, self._changed = self._changed, later_changed
        current = (self._store.find(session.id) or session for session in changed.values())
        return tuple(map(self.extras.without_provisional, current))

    def snapshot(self, status: ServerStatus) -> Snapshot:
        """Return an immutable view. Its cost grows with the running sessions, not the finished ones."""
        running = self._store.running_newest_first()
        room = self._settings.max_series - sum(not one.configured for one in running)
        listed = self._list_confirmed_at > -inf
        return Snapshot(
            server=self._server,
            status=status,
            stale_after_seconds=self.stale_after_seconds,
            max_series=self._settings.max_series,
            running=running,
            finished=self._store.finished_blocks(),
            finished_with_series=self._store.finished_blocks(room),
            finished_confirmed_at=self._finished_confirmed_at if self._store.finished else -inf,
            configured_ids=self._configured.states(self._finished_confirmed_at),
            stopped=MappingProxyType(dict(self._store.counts.stopped) if listed else {}),
            last_end=MappingProxyType(dict(self._store.counts.last_end) if listed else {}),
            last_restored=MappingProxyType(self._store.restores.ends if listed else {}),
            list_confirmed_at=self._list_confirmed_at,
            activity=self.activity.activity(),
            sessions_listed=self.sessions_listed,
            sessions_known=len(self._store),
            sessions_without_series=max(0, self._store.discovered_finished_count - room),
            sessions_not_kept=self.resync.not_kept,
        )

    def _remove(self, session_id: str, moment: Moment) -> None:
        self._store.remove(session_id, moment)
        self._discard(session_id)
        self.extras.end_final(session_id)

    def _discard(self, session_id: str) -> None:
        """Cancel the pending requests for a session."""
        self.resync.to_fetch.discard(session_id)
        self.extras.discard(session_id)
        self._unwritten.settle(session_id)
