"""What is known of one server's restore sessions, and what to ask next. Pure: no network, no thread, no clock.

The rules, from which everything here follows:

* A session is over only when it is Stopped. One that runs is followed by id until then, however old it is.
* A finished session does not change. It is not asked for again; an hourly walk over everything finds deletions.
* New sessions are found by their creationTime, compared with the newest one seen on that server, never with a clock.
* Counters count what was seen to happen. What was there before the first complete look is not an event.
* What left (by age, by number) and comes into sight again is not an event either.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import chain
from math import inf
from types import MappingProxyType

from exporter.config import SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.counters import ActivityCounters
from exporter.polling.extras import Extras
from exporter.polling.plan import ListRequest, cheaper_list
from exporter.polling.snapshot import ConfiguredId, ServerStatus, Snapshot
from exporter.polling.store import SessionStore
from exporter.vb365.records.changes import SessionChange
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["RESYNC_SECONDS", "Ledger"]

RESYNC_SECONDS = 3600.0
"""How often everything is listed again, and configured ids that have finished are asked for again."""

# A session shows up in the list a little after its creationTime; clocks of a server farm differ a little too.
_OVERLAP = timedelta(minutes=10)
# One session created far in the future must not end the discovery of all others.
_BELIEVED_AHEAD = timedelta(days=1)
# More vanished sessions than this in one walk are a history that was cleared: then the walk is proof enough.
_VERIFIED_BY_ID = 100


class Ledger:
    """The sessions of one server. Belongs to that server's poller; everybody else reads its snapshots."""

    def __init__(self, server: str, settings: SessionsConfig, stale_after_seconds: float) -> None:
        self._server = server
        self._settings = settings
        self._stale_after_seconds = stale_after_seconds
        self._configured = frozenset(settings.ids)

        self._kept = SessionStore(settings)
        self._missing: dict[str, float] = {}  # configured id -> when the 404 was believed
        self._reopened: set[str] = set()
        self._activity = ActivityCounters()
        self.extras = Extras(self._kept, settings, stale_after_seconds)
        """What is known of sessions beyond their records."""
        self._news: dict[str, RestoreSession] = {}

        self._newest_creation: datetime | None = None
        self._complete = False  # has there been a complete look?
        self._baseline: datetime | None = None  # the newest creationTime at that look
        self._not_kept = 0
        self._finished_confirmed_at = -inf
        self._list_confirmed_at = -inf
        self._walk_due_at = -inf
        self._to_verify: set[str] = set()

        self._poll_started = -inf
        self._observed_at = -inf
        self._walked: set[str] | None = None
        self._unreadable = False  # did the list under way show what cannot be read?

    # What to ask

    def begin_poll(self, moment: Moment) -> None:
        """Start a poll: what is confirmed from here on counts as confirmed by it."""
        self._poll_started = moment.monotonic
        self._walked = None
        for session_id in self._kept.let_leave(moment):
            self._forget(session_id)
        if not self._settings.discover and moment.monotonic >= self._walk_due_at:
            self._to_verify.update(self._kept.finished)

    def lists(self, moment: Moment) -> tuple[ListRequest, ...]:
        """The lists this poll has to ask for, in order; none when sessions are not discovered."""
        if not self._settings.discover:
            return ()
        walk = ListRequest(created_since=None)
        if not self._complete:
            return (walk,)
        recent = ListRequest(created_since=self._recent())
        if recent == walk or moment.monotonic < self._walk_due_at:
            return (recent,)
        return (recent, walk)

    def unconfirmed(self) -> tuple[str, ...]:
        """The ids to ask for one by one: what should be known by the end of this poll and is not yet."""
        running = (
            session_id
            for session_id, running in self._kept.running.items()
            if running.confirmed_at < self._poll_started
        )
        unseen = (
            session_id
            for session_id in self._settings.ids
            if self._kept.find(session_id) is None
            and self._missing.get(session_id, -inf) < self._poll_started
        )
        return tuple(dict.fromkeys(chain(running, unseen, self._to_verify)))

    def list_instead(self, wanted: Iterable[str]) -> ListRequest | None:
        """A list that is cheaper for the server than asking for most of `wanted` one by one; None if there is none."""
        creations: list[datetime] = []
        never_seen = 0
        for session_id in wanted:
            session = self._kept.find(session_id)
            if session is not None:
                creations.append(session.creation_time)
            elif session_id not in self._missing:
                never_seen += 1
        return cheaper_list(creations, never_seen, self._kept.created_since)

    def is_news(self, change: SessionChange) -> bool:
        """Whether a session that the change feed says was updated has to be asked for."""
        if not self._settings.discover and change.session_id not in self._configured:
            return False
        known = self._kept.find(change.session_id)
        return known is None or change.e_tag is None or known.e_tag != change.e_tag

    # What was answered

    def begin_list(self, request: ListRequest) -> None:
        """A list is about to be read."""
        self._walked = set() if request.is_walk else None
        self._unreadable = False

    def observe(self, session: RestoreSession, moment: Moment) -> None:
        """Take in a session the API answered with, from a list or by id."""
        configured = session.id in self._configured
        if not configured and not self._settings.discover:
            return
        self._observed_at = moment.monotonic
        self._activity.meet(session.organization)
        if self._newest_creation is None or session.creation_time > self._newest_creation:
            believed = min(session.creation_time, moment.wall + _BELIEVED_AHEAD)
            self._newest_creation = max(believed, self._newest_creation or believed)
        self._missing.pop(session.id, None)
        self._to_verify.discard(session.id)
        if not session.stopped:
            self._observe_running(session, moment)
        elif session.id in self._kept.running:
            self._observe_finish(session, moment)
        else:
            self._observe_finished(session, moment)

    def unreadable(self) -> None:
        """The list under way holds a record that cannot be read: whichever session it is may well be there."""
        self._unreadable = True

    def end_list(self, request: ListRequest, moment: Moment) -> None:
        """A list was read to its end: it vouches for everything that it could have shown."""
        if request.most_pages is not None:
            return
        self._finished_confirmed_at = self._list_confirmed_at = moment.monotonic
        if self._walked is None:
            return
        self._walk_due_at = moment.monotonic + RESYNC_SECONDS
        finished = self._kept.finished
        kept = finished.keys() | self._kept.running.keys() | self._kept.departed
        self._not_kept = len(self._walked - kept)
        vanished = finished.keys() - self._walked
        if len(vanished) > _VERIFIED_BY_ID:
            if not self._unreadable:
                for session_id in vanished - self._configured:
                    self._drop_finished(finished[session_id])
            vanished &= self._configured
        self._to_verify.update(vanished)
        if not self._unreadable:
            self._kept.departed &= self._walked
        self._walked = None
        if not self._unreadable or self._newest_creation is not None:
            self._set_baseline()

    def missing(self, session_id: str, moment: Moment) -> None:
        """A 404 on a session that is to be believed: the session ends here, at once."""
        self._forget(session_id)
        self._reopened.discard(session_id)
        self._kept.drop_running(session_id)
        if session_id in self._kept.finished:
            self._kept.drop_finished(self._kept.finished[session_id])
        if session_id in self._configured:
            self._missing[session_id] = moment.monotonic

    def ask_again(self, session_id: str) -> None:
        """A session that has changed could not be asked for: the next poll does."""
        self._to_verify.add(session_id)

    def request_resync(self) -> None:
        """List everything again from the next poll on, until that has succeeded."""
        self._walk_due_at = -inf

    def take_changed(self) -> tuple[RestoreSession, ...]:
        """The sessions that began or ended since this was asked last, as they are known now."""
        news = tuple(self._kept.find(one.id) or one for one in self._news.values())
        self._news = {}
        return news

    def end_poll(self, moment: Moment, *, complete: bool) -> None:
        """End a poll; `complete` when it got everything it asked for."""
        if self._settings.discover:
            if not self._complete and self._observed_at >= self._poll_started:
                # Partial answers of a first walk are true as far as they go; counts over them would not be.
                self._finished_confirmed_at = moment.monotonic
        elif complete:
            self._set_baseline()
            if moment.monotonic >= self._walk_due_at:
                self._walk_due_at = moment.monotonic + RESYNC_SECONDS
        self._walked = None
        self.extras.expire(moment)

    def vouch(self, moment: Moment) -> None:
        """The server answered for itself, though there was no list to ask for: finished sessions stand."""
        self._finished_confirmed_at = moment.monotonic
        if self._complete:
            self._list_confirmed_at = moment.monotonic

    def snapshot(self, status: ServerStatus) -> Snapshot:
        """All of it as an immutable value; costs what is running, not what has finished."""
        running = self._kept.running_newest_first()
        discovered = sum(not one.configured for one in running)
        room = max(0, self._settings.max_series - discovered)
        listed = self._list_confirmed_at > -inf
        return Snapshot(
            server=self._server,
            status=status,
            stale_after_seconds=self._stale_after_seconds,
            max_series=self._settings.max_series,
            running=running,
            finished=self._kept.finished_blocks(room),
            finished_confirmed_at=self._finished_confirmed_at if self._kept.finished else -inf,
            configured_ids=self._configured_ids(),
            stopped=MappingProxyType(dict(self._kept.ended.stopped) if listed else {}),
            last_end=MappingProxyType(dict(self._kept.ended.last_end) if listed else {}),
            list_confirmed_at=self._list_confirmed_at,
            activity=self._activity.activity(),
            sessions_known=len(self._kept),
            sessions_without_series=max(0, discovered - self._settings.max_series)
            + max(0, self._kept.discovered_finished - room),
            sessions_not_kept=self._not_kept,
        )

    # How a session moves

    def _observe_running(self, session: RestoreSession, moment: Moment) -> None:
        finished = self._kept.finished.get(session.id)
        if finished is not None:
            self._drop_finished(finished)
            self._reopened.add(session.id)
        elif session.id not in self._kept.running:
            if session.id not in self._configured and not self._make_room(1):
                self._note_walked(session.id)
                self._not_kept += self._walked is None
                return
            if self._is_event(session):
                self._activity.start(session)
            self._news[session.id] = session
        self._note_walked(session.id)
        self._kept.keep_running(self.extras.carried_over(session), moment)

    def _observe_finish(self, session: RestoreSession, moment: Moment) -> None:
        """A session that was seen running is over."""
        session = self.extras.carried_over(session)
        self._kept.drop_running(session.id)
        if session.id in self._reopened:
            self._reopened.discard(session.id)
        else:
            self._activity.finish(session)
        self._news[session.id] = session
        self._note_walked(session.id)
        if self._kept.stays(session, moment):
            self._kept.keep_finished(session, moment)
            self.extras.ended(session.id)

    def _observe_finished(self, session: RestoreSession, moment: Moment) -> None:
        """A session that is over, and was not running when last seen."""
        if session.id in self._kept.departed:
            self._note_walked(session.id)
            return
        known = self._kept.finished.get(session.id)
        if not self._kept.stays(session, moment):
            if known is not None:  # its times were wrong, as while the server's clock was
                self._drop_finished(known)
            return
        self._note_walked(session.id)
        if known is not None:
            session = self.extras.carried_over(session)
            if known != session:
                self._kept.keep_finished(session, moment)
            return
        if self._is_event(session):
            self._activity.start(session)
            self._activity.finish(session)
            self.extras.ended(session.id)
        self._news[session.id] = session
        self._kept.keep_finished(session, moment)
        if session.id not in self._configured:
            self._make_room(0)

    def _drop_finished(self, session: RestoreSession) -> None:
        self._forget(session.id)
        self._kept.drop_finished(session)

    def _forget(self, session_id: str) -> None:
        """Nothing of it remains to be asked."""
        self._to_verify.discard(session_id)
        self.extras.forget(session_id)

    def _make_room(self, for_sessions: int) -> bool:
        """Leave out the oldest finished sessions until there is room; False when that does not help."""
        left_out = self._kept.make_room(for_sessions)
        for session_id in left_out or ():
            self._forget(session_id)
            self._not_kept += self._walked is None  # the end of a walk counts them all
        return left_out is not None

    # Small questions

    def _is_event(self, session: RestoreSession) -> bool:
        """True when a session seen for the first time began after the first complete look."""
        created = session.creation_time
        return (
            self._complete
            and (self._baseline is None or created > self._baseline)
            and (self._kept.evicted_through is None or created > self._kept.evicted_through)
        )

    def _recent(self) -> datetime | None:
        return self._newest_creation - _OVERLAP if self._newest_creation else None

    def _configured_ids(self) -> tuple[ConfiguredId, ...]:
        found = []
        for session_id in self._settings.ids:
            running = self._kept.running.get(session_id)
            if running is not None:
                confirmed_at = running.confirmed_at
            elif session_id in self._kept.finished:
                confirmed_at = self._finished_confirmed_at
            elif session_id in self._missing:
                confirmed_at = self._missing[session_id]
            else:
                continue
            found.append(
                ConfiguredId(
                    session_id=session_id,
                    found=session_id not in self._missing,
                    confirmed_at=confirmed_at,
                )
            )
        return tuple(found)

    def _note_walked(self, session_id: str) -> None:
        if self._walked is not None:
            self._walked.add(session_id)

    def _set_baseline(self) -> None:
        if not self._complete:
            self._complete = True
            self._baseline = self._newest_creation
