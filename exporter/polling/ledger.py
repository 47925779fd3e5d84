"""What is known of one server's restore sessions, and what to ask next. Pure: no network, no thread, no clock.

The rules, from which everything here follows:

* A session is over only when it is Stopped. One that runs is followed by id until then, however old it is.
* A finished session does not change. It is not asked for again; an hourly walk over everything finds deletions.
* New sessions are found by their creationTime, compared with the newest one seen on that server, never with a clock.
* Counters count what was seen to happen. What was there before the first complete look is not an event.
* What left (by age, by number) and comes into sight again is not an event either.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from math import inf
from types import MappingProxyType

from exporter.config import SessionsConfig
from exporter.polling.blocks import SessionBlocks
from exporter.polling.clock import Moment
from exporter.polling.snapshot import FoundId, RunningSession, ServerStatus, Snapshot
from exporter.polling.tally import ActivityTally, EndedTally
from exporter.vb365.model import RestoreSession

__all__ = ["GETS_PER_PAGE", "PAGE_SESSIONS", "WALK_EVERY_SECONDS", "Ledger", "ListRequest"]

WALK_EVERY_SECONDS = 3600.0
"""How often everything is listed again, and configured ids that have finished are asked for again."""

PAGE_SESSIONS = 1000
"""How many sessions a page of the list is asked to hold: about 0.7 MB."""

GETS_PER_PAGE = 25
"""A page of the list is taken to cost the server as much as this many sessions asked for by id."""

# A session shows up in the list a little after its creationTime; clocks of a server farm differ a little too.
_OVERLAP = timedelta(minutes=10)
# One session created far in the future must not end the discovery of all others.
_BELIEVED_AHEAD = timedelta(days=1)
# No date comes after this: an endTime far in the future and a long lookback do not add up to one.
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
# More vanished sessions than this in one walk are a history that was cleared: then the walk is proof enough.
_VERIFIED_BY_ID = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """A list to ask for."""

    created_since: datetime | None
    """Only sessions created after this; None walks over everything."""
    most_pages: int | None = None
    """Stop after so many pages, or when everything wanted was seen; None goes on to the end."""

    @property
    def is_walk(self) -> bool:
        """True when its end has seen every session there is."""
        return self.created_since is None and self.most_pages is None


class Ledger:
    """The sessions of one server. Belongs to that server's poller; everybody else reads its snapshots."""

    def __init__(self, server: str, settings: SessionsConfig, stale_after_seconds: float) -> None:
        self._server = server
        self._settings = settings
        self._stale_after_seconds = stale_after_seconds
        self._lookback = timedelta(seconds=settings.lookback)
        self._configured = frozenset(settings.ids)

        self._running: dict[str, RunningSession] = {}
        self._finished: dict[str, RestoreSession] = {}
        self._configured_blocks = SessionBlocks()
        self._discovered_blocks = SessionBlocks()
        self._missing: dict[str, float] = {}  # configured id -> when the 404 was believed
        self._leaving: list[tuple[datetime, str]] = []  # a heap
        self._departed: set[str] = set()  # left, but nothing in the record tells when
        self._reopened: set[str] = set()
        self._ended = EndedTally()
        self._activity = ActivityTally()

        self._newest_creation: datetime | None = None
        self._complete = False  # has there been a complete look?
        self._baseline: datetime | None = None  # the newest creationTime at that look
        self._evicted_through: datetime | None = None
        self._not_kept = 0
        self._finished_at = -inf
        self._listed_at = -inf
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
        self._let_leave(moment)
        if not self._settings.discover and moment.monotonic >= self._walk_due_at:
            self._to_verify.update(self._finished)

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
            for session_id, running in self._running.items()
            if running.confirmed_at < self._poll_started
        )
        unseen = (
            session_id
            for session_id in self._settings.ids
            if session_id not in self._running
            and session_id not in self._finished
            and self._missing.get(session_id, -inf) < self._poll_started
        )
        return tuple(dict.fromkeys(chain(running, unseen, self._to_verify)))

    def list_instead(self, wanted: Iterable[str]) -> ListRequest | None:
        """A list that is cheaper for the server than asking for most of `wanted` one by one; None if there is none."""
        creations: list[datetime] = []
        never_seen = 0
        for session_id in wanted:
            running = self._running.get(session_id)
            session = running.session if running else self._finished.get(session_id)
            if session is not None:
                creations.append(session.creation_time)
            elif session_id not in self._missing:
                never_seen += 1
        if never_seen >= 2 * GETS_PER_PAGE:
            return ListRequest(created_since=None, most_pages=never_seen // GETS_PER_PAGE)
        best: ListRequest | None = None
        most_saved = GETS_PER_PAGE
        for confirmed, creation in enumerate(sorted(creations, reverse=True), start=1):
            pages = 1 + self._kept_since(creation) // PAGE_SESSIONS
            if confirmed - pages * GETS_PER_PAGE > most_saved:
                most_saved = confirmed - pages * GETS_PER_PAGE
                best = ListRequest(
                    created_since=creation - timedelta(seconds=1),
                    most_pages=confirmed // GETS_PER_PAGE,
                )
        return best

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
        believed = min(session.creation_time, moment.wall + _BELIEVED_AHEAD)
        if self._newest_creation is None or believed > self._newest_creation:
            self._newest_creation = believed
        self._missing.pop(session.id, None)
        self._to_verify.discard(session.id)
        if not session.stopped:
            self._observe_running(session, moment, configured=configured)
        elif session.id in self._running:
            self._observe_finish(session, moment)
        else:
            self._observe_finished(session, moment, configured=configured)

    def unreadable(self) -> None:
        """The list under way holds a record that cannot be read: whichever session it is may well be there."""
        self._unreadable = True

    def end_list(self, request: ListRequest, moment: Moment) -> None:
        """A list was read to its end: it vouches for everything that it could have shown."""
        if request.most_pages is not None:
            return
        self._finished_at = self._listed_at = moment.monotonic
        if self._walked is None:
            return
        self._walk_due_at = moment.monotonic + WALK_EVERY_SECONDS
        kept = self._finished.keys() | self._running.keys() | self._departed
        self._not_kept = len(self._walked - kept)
        vanished = self._finished.keys() - self._walked
        if len(vanished) > _VERIFIED_BY_ID:
            if not self._unreadable:
                for session_id in vanished - self._configured:
                    self._remove_finished(self._finished[session_id])
            vanished &= self._configured
        self._to_verify.update(vanished)
        if not self._unreadable:
            self._departed &= self._walked
        self._walked = None
        if not self._unreadable or self._newest_creation is not None:
            self._set_baseline()

    def missing(self, session_id: str, moment: Moment) -> None:
        """A 404 on a session that is to be believed: the session ends here, at once."""
        self._to_verify.discard(session_id)
        self._running.pop(session_id, None)
        self._reopened.discard(session_id)
        if session_id in self._finished:
            self._remove_finished(self._finished[session_id])
        if session_id in self._configured:
            self._missing[session_id] = moment.monotonic

    def end_poll(self, moment: Moment, *, complete: bool) -> None:
        """End a poll; `complete` when it got everything it asked for."""
        if self._settings.discover:
            if not self._complete and self._observed_at >= self._poll_started:
                # Partial answers of a first walk are true as far as they go; counts over them would not be.
                self._finished_at = moment.monotonic
        elif complete:
            self._set_baseline()
            if moment.monotonic >= self._walk_due_at:
                self._walk_due_at = moment.monotonic + WALK_EVERY_SECONDS
        self._walked = None

    def vouch(self, moment: Moment) -> None:
        """The server answered for itself, though there was no list to ask for: finished sessions stand."""
        self._finished_at = moment.monotonic
        if self._complete:
            self._listed_at = moment.monotonic

    def snapshot(self, status: ServerStatus) -> Snapshot:
        """All of it as an immutable value; costs what is running, not what has finished."""
        running = tuple(
            sorted(
                self._running.values(),
                key=lambda running: (running.session.creation_time, running.session.id),
                reverse=True,
            )
        )
        discovered = sum(not one.configured for one in running)
        room = max(0, self._settings.max_series - discovered)
        known = len(running) + len(self._finished)
        listed = self._listed_at > -inf
        return Snapshot(
            server=self._server,
            status=status,
            stale_after_seconds=self._stale_after_seconds,
            max_series=self._settings.max_series,
            running=running,
            finished=self._configured_blocks.newest() + self._discovered_blocks.newest(room),
            finished_at=self._finished_at if self._finished else -inf,
            found_ids=self._found_ids(),
            stopped=MappingProxyType(dict(self._ended.stopped)) if listed else MappingProxyType({}),
            last_end=MappingProxyType(dict(self._ended.last_end))
            if listed
            else MappingProxyType({}),
            listed_at=self._listed_at,
            activity=self._activity.activity(),
            sessions_known=known,
            sessions_without_series=max(0, discovered - self._settings.max_series)
            + max(0, len(self._discovered_blocks) - room),
            sessions_not_kept=self._not_kept,
        )

    # How a session moves

    def _observe_running(
        self, session: RestoreSession, moment: Moment, *, configured: bool
    ) -> None:
        finished = self._finished.get(session.id)
        if finished is not None:
            self._remove_finished(finished)
            self._reopened.add(session.id)
        elif session.id not in self._running:
            if not configured and not self._make_room():
                self._note_walked(session.id)
                self._not_kept += self._walked is None
                return
            if self._is_event(session):
                self._activity.start(session)
        self._note_walked(session.id)
        self._running[session.id] = RunningSession(
            session=session, confirmed_at=moment.monotonic, configured=configured
        )

    def _observe_finish(self, session: RestoreSession, moment: Moment) -> None:
        """A session that was seen running is over."""
        configured = self._running.pop(session.id).configured
        if session.id in self._reopened:
            self._reopened.discard(session.id)
        else:
            self._activity.finish(session)
        self._note_walked(session.id)
        if configured or self._leaves_at(session, moment) > moment.wall:
            self._add_finished(session, moment, configured=configured)

    def _observe_finished(
        self, session: RestoreSession, moment: Moment, *, configured: bool
    ) -> None:
        """A session that is over, and was not running when last seen."""
        if session.id in self._departed:
            self._note_walked(session.id)
            return
        if not configured and self._leaves_at(session, moment) <= moment.wall:
            return
        self._note_walked(session.id)
        known = self._finished.get(session.id)
        if known is not None:
            if known != session:
                self._remove_finished(known)
                self._add_finished(session, moment, configured=configured)
            return
        if self._is_event(session):
            self._activity.start(session)
            self._activity.finish(session)
        self._add_finished(session, moment, configured=configured)
        if not configured:
            self._make_room(0)

    def _add_finished(self, session: RestoreSession, moment: Moment, *, configured: bool) -> None:
        self._finished[session.id] = session
        self._ended.add(session)
        if configured:
            self._configured_blocks.add(session)
        else:
            self._discovered_blocks.add(session)
            heapq.heappush(self._leaving, (self._leaves_at(session, moment), session.id))

    def _remove_finished(self, session: RestoreSession) -> None:
        del self._finished[session.id]
        self._to_verify.discard(session.id)
        blocks = (
            self._configured_blocks if session.id in self._configured else self._discovered_blocks
        )
        blocks.remove(session)
        self._ended.remove(session, chain(self._configured_blocks, self._discovered_blocks))

    def _let_leave(self, moment: Moment) -> None:
        """Part with the sessions whose lookback is over."""
        while self._leaving and self._leaving[0][0] <= moment.wall:
            _, session_id = heapq.heappop(self._leaving)
            session = self._finished.get(session_id)
            if session is None:
                continue
            if session.end_time is not None and self._leaves_at(session, moment) > moment.wall:
                continue  # it was corrected since, and stands in the heap with its new time too
            self._remove_finished(session)
            if session.end_time is None:
                self._departed.add(session_id)

    def _make_room(self, for_sessions: int = 1) -> bool:
        """Leave out the oldest finished sessions until there is room; False when that does not help."""
        while len(self._running) + len(self._finished) + for_sessions > self._settings.max_sessions:
            if not self._discovered_blocks:
                return False
            oldest = self._discovered_blocks.oldest()
            self._remove_finished(oldest)
            self._evicted_through = max(
                oldest.creation_time, self._evicted_through or oldest.creation_time
            )
            # During a walk the end of it counts them all.
            self._not_kept += self._walked is None
        return True

    # Small questions

    def _is_event(self, session: RestoreSession) -> bool:
        """True when a session seen for the first time began after the first complete look."""
        created = session.creation_time
        return (
            self._complete
            and (self._baseline is None or created > self._baseline)
            and (self._evicted_through is None or created > self._evicted_through)
        )

    def _leaves_at(self, session: RestoreSession, moment: Moment) -> datetime:
        ended = session.end_time or moment.wall
        return ended + min(self._lookback, _LAST_MOMENT - ended)

    def _recent(self) -> datetime | None:
        return self._newest_creation - _OVERLAP if self._newest_creation else None

    def _kept_since(self, creation: datetime) -> int:
        return (
            self._configured_blocks.count_since(creation)
            + self._discovered_blocks.count_since(creation)
            + len(self._running)
        )

    def _found_ids(self) -> tuple[FoundId, ...]:
        found = []
        for session_id in self._settings.ids:
            running = self._running.get(session_id)
            if running is not None:
                found.append(
                    FoundId(session_id=session_id, found=True, confirmed_at=running.confirmed_at)
                )
            elif session_id in self._finished:
                found.append(
                    FoundId(session_id=session_id, found=True, confirmed_at=self._finished_at)
                )
            elif session_id in self._missing:
                found.append(
                    FoundId(
                        session_id=session_id, found=False, confirmed_at=self._missing[session_id]
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
