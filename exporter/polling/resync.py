"""What the lists of a poll prove: which of the stored sessions the server has deleted, and how many do not fit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import inf
from typing import NamedTuple

from exporter.config import SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.late_lists import LateLists
from exporter.polling.plan import RESYNC_SECONDS, ListRequest
from exporter.polling.server_time import ClockJumps
from exporter.polling.store import SessionStore
from exporter.vb365.records.restore_session import RestoreSession

# If more sessions than this are missing, they are not fetched one by one, but another full list has to agree.
_MAX_VERIFIED_BY_ID = 100
_MAX_REMEMBERED = 100
# Whether a list includes sessions created exactly when it begins is not known.
_BOUNDARY = timedelta(seconds=1)
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class ListLoss(NamedTuple):
    """A full list that lacks more than half of the stored sessions, or more than are fetched by id.

    The account lost a role, history was cleared, or the list is not complete.
    """

    stored: int
    """How many sessions were stored before the list."""
    lost: int
    """How many of them it does not show."""
    believed: bool
    """Whether they are considered deleted, because the previous full list lacked many as well."""

    @property
    def is_most(self) -> bool:
        """Whether it is more than half of the sessions."""
        return 2 * self.lost > self.stored


class Resync:
    """The comparison of the stored sessions with the lists of a poll, hourly with the full list.

    Args:
        store: the stored sessions.
        settings: the configured ids, whose deletion is always verified by id; and `discover`, without which there are
            no lists.
    """

    def __init__(self, store: SessionStore, settings: SessionsConfig) -> None:
        self._store = store
        self._restores = store.restores
        self._configured = frozenset(settings.ids)
        self._has_lists = settings.discover
        self._clock_jumps = ClockJumps()
        self._due_at = -inf
        self._doubts = False  # whether the last full list is listed again before it is believed
        self._doubts_recent = False  # whether a list of this poll lost more than half
        self._list_in_progress: ListRequest | None = None
        self._listed: set[str] = set()  # by the list in progress, as far as they are stored
        self._listed_sessions = 0
        self._stored_before = 0  # how many of `_listed` were stored before
        self._shown: set[str] = set()  # by the lists of this poll
        self._covered_since: datetime | None = None  # what was created later is in those lists
        self._unidentified = 0  # how many records of the list in progress have no readable id
        self._is_cut = False  # whether the last list was not read to its end because it is too long
        self._unlisted: set[str] = set()  # stored sessions that lists do not show
        self.late_lists = LateLists()
        self.is_incomplete = False
        """Whether the last list contained an unreadable record, or was not read to its end because it is too long."""
        self.to_fetch: set[str] = set()
        """Ids to fetch: missing from a full list, reported by the change feed, or checked hourly without discovery."""
        self.not_kept = 0
        """How many sessions on the server are not stored because they were evicted or did not fit."""
        self._not_kept_ids: set[str] = set()  # since the last complete full list began
        self._not_kept_listed: set[str] = set()  # since the last full list began
        self._max_not_kept_ids = settings.max_sessions
        self.shows_all = False
        """Whether the last full list shows every session. A record that stays unreadable in two lists counts as none."""
        self._was_incomplete = False  # the last full list

    # When

    def is_due(self, moment: Moment) -> bool:
        """Whether an hour has passed since the last resync, or one was requested."""
        return moment.monotonic >= self._due_at

    def make_due(self) -> None:
        """Make a resync due until one succeeds."""
        self._due_at = -inf

    def succeed(self, moment: Moment) -> None:
        """Make the next resync due in an hour."""
        self._due_at = moment.monotonic + RESYNC_SECONDS

    def request_by_id(self, session_ids: Iterable[str]) -> int:
        """Add ids that the change feed reports to those to fetch; return how many do not fit.

        Lists find those that are new, and running sessions are fetched in any case.
        """
        wanted = set(session_ids) - self.to_fetch - self._store.running.keys()
        room = max(0, _MAX_REMEMBERED - len(self.to_fetch))
        self.to_fetch.update(islice(wanted, room))
        return max(0, len(wanted) - room)

    # Lists

    def begin_poll(self, moment: Moment) -> Moment:
        """Start a poll: only its own lists prove that a session was deleted. Return the moment that decides what expires.

        If the server's clock was set back, a resync is due: sessions may have seemed past their lookback before.
        """
        self.abort_list()  # of a poll that was stopped
        self.late_lists.begin_poll()
        self._shown = set()
        self._covered_since = None
        self._doubts_recent = False
        if not self._store.has_baseline:
            return moment  # no response has shown the server's clock yet
        expiry = self._clock_jumps.begin_poll(moment)
        if self._clock_jumps.is_set_back:
            self._store.lookback.follow_clock(moment)
            self.make_due()
        return expiry

    def begin_list(self, request: ListRequest) -> None:
        """Start a comparison with the list about to be read."""
        self._list_in_progress = request
        self._listed = set()
        self._listed_sessions = 0
        self._stored_before = 0
        self._unidentified = 0
        self._is_cut = False
        self.is_incomplete = False
        self._restores.end_full_list(is_complete=False)
        if request.is_full:
            self._not_kept_listed = set()
            self._restores.begin_full_list()

    def add_unreadable(self, session_id: str) -> None:
        """Record that the list contains an unreadable record. Without an id, it could be any session's."""
        self.is_incomplete = True
        if not session_id:
            self._unidentified += 1
        elif self._store.find(session_id):
            self.add_listed(session_id, was_stored=True)

    def cut_list(self) -> None:
        """Record that the list has more sessions than are read."""
        self.is_incomplete = self._is_cut = True

    def abort_list(self) -> None:
        """Abandon the comparison in progress, if any."""
        self._list_in_progress = None
        self._restores.end_full_list(is_complete=False)

    def add_listed(self, session_id: str, *, was_stored: bool) -> None:
        """Record that a list, or a response by id, shows a session that is not past its lookback."""
        if self._list_in_progress is None:
            if session_id in self.late_lists.lacking:
                self.make_due()  # the full list shows whether lists of new sessions begin late
        elif session_id not in self._listed:
            self._listed.add(session_id)
            self._listed_sessions += 1
            self._stored_before += was_stored

    def count_not_kept(self, session_id: str, *, observed_id: str) -> None:
        """Count a session that is not kept: it was evicted to store `observed_id`, or is `observed_id` and did not fit.

        A full list counts all of them at its end. Between full lists each is counted once, as far as they are remembered:
        one that did not fit may be in every list of new sessions.
        """
        self._listed.discard(session_id)
        is_full = len(self._not_kept_ids) >= self._max_not_kept_ids
        is_counted = session_id in self._not_kept_ids or (is_full and session_id == observed_id)
        for ids in (self._not_kept_ids, self._not_kept_listed):
            if len(ids) < self._max_not_kept_ids:
                ids.add(session_id)
        is_in_full_list = self._list_in_progress is not None and self._list_in_progress.is_full
        if not is_counted and not is_in_full_list:
            self.not_kept += 1

    def end_list(self, moment: Moment) -> tuple[set[str], ListLoss | None]:
        """Compare the stored sessions with the list, which was read as far as requested.

        Returns:
            The ids of deleted sessions, and the loss if it is a full list that lacks many.
        """
        request, self._list_in_progress = self._list_in_progress, None
        self._shown |= self._listed
        if request is None or request.max_pages is not None:
            return set(), None
        if request.created_since is not None:
            self._compare_recent(request.created_since + request.margin + _BOUNDARY)
            return set(), None
        self.late_lists.compare(self._listed)
        return self._compare_all(moment)

    def _compare_recent(self, since: datetime) -> None:
        """Let the list prove deletions, unless it lost more than half: then the full list decides in the next poll.

        If a single session is missing from a short list, its own 404 is evidence enough; only the full list can show
        whether a finished one was deleted. A list that was cut proves nothing: what it lacks may be in the part that was
        not read.
        """
        if self._is_cut:
            return
        # Lists may never show a session that is fetched by id.
        self._unlisted -= self._listed
        missing = self._store.ids_created_since(since) - self._listed - self._unlisted
        lacking = set() if self._unidentified else missing - self._configured
        self.late_lists.end_list(lacking)
        if len(missing) > max(1, self._stored_before):
            self._doubts_recent = True
        else:
            self._covered_since = min(since, self._covered_since or since)
        if self._doubts_recent or lacking - self._store.running.keys():
            self.make_due()

    def _compare_all(self, moment: Moment) -> tuple[set[str], ListLoss | None]:
        finished = self._store.finished.keys()
        missing = finished - self._listed
        unlisted = missing | (self._store.running.keys() - self._listed)
        explained = self._unidentified  # by records that could be any session's
        is_many = len(missing - self._configured) - explained > _MAX_VERIFIED_BY_ID
        is_most = len(unlisted - self._unlisted) - explained > self._stored_before
        loss = None
        if (is_many or is_most) and not self._is_cut:
            stored = len(unlisted) + self._stored_before
            loss = ListLoss(stored=stored, lost=len(unlisted), believed=self._doubts)
        self._doubts = loss is not None and not loss.believed
        if not self._is_cut and (loss is None or loss.believed or not loss.is_most):
            self._covered_since = _BEGINNING  # a 404 by id and this list agree
        if self._doubts:
            self.make_due()
            return set(), loss
        self._unlisted = unlisted
        self.late_lists.lacking -= unlisted  # no list shows them
        self.succeed(moment)
        self.shows_all = not self.is_incomplete or (self._was_incomplete and not self._is_cut)
        self._was_incomplete = self.is_incomplete
        if self._restores.end_full_list(is_complete=self.shows_all):
            self.make_due()
        self._clock_jumps.end_full_list(moment)
        expired = self._store.lookback.expired
        stored_now = finished | self._store.running.keys() | expired.keys()
        self.not_kept = self._listed_sessions - len(self._listed & stored_now)
        self._not_kept_ids = self._not_kept_listed
        if not self.is_incomplete:
            self._store.lookback.forget_expired(expired.keys() - self._listed)
        deleted = missing - self._configured if loss is not None and is_many else set()
        self._verify(missing - deleted)
        return deleted, loss

    def _verify(self, missing: set[str]) -> None:
        """Fetch missing sessions by id: those that are configured, and a hundred others with each full list."""
        self.to_fetch |= missing & self._configured
        self.to_fetch.update(islice(missing - self._configured, _MAX_VERIFIED_BY_ID))

    # Responses by id

    def confirms_deletion(self, session_id: str) -> bool:
        """Whether a 404 is to be believed: a list of this poll should show the session, if it is stored, and does not.

        Without discovery there are no lists; then the response of ServiceInstance suffices.
        """
        session = self._store.find(session_id)
        if session is None or not self._has_lists:
            return True
        return self._is_covered(session) and session_id not in self._shown

    def verifying_list(self, session_ids: Iterable[str]) -> ListRequest | None:
        """Return a list that covers the sessions that no list of this poll covers; None if there are none, or in doubt."""
        if self._doubts or self._doubts_recent or not self._has_lists:
            return None  # in doubt, the next poll requests the full list
        stored = (self._store.find(session_id) for session_id in set(session_ids) - self._shown)
        doubtful = [
            session.creation_time
            for session in stored
            if session is not None and not self._is_covered(session)
        ]
        if not doubtful:
            return None
        oldest = max(min(doubtful), _BEGINNING + 2 * _BOUNDARY)
        return ListRequest(created_since=oldest - 2 * _BOUNDARY)

    def _is_covered(self, session: RestoreSession) -> bool:
        return self._covered_since is not None and session.creation_time >= self._covered_since
