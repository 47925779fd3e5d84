"""The poll loop of one server: polls on schedule, and acts on the change feed in between, within limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from math import inf

import structlog

from exporter.config import ServerConfig
from exporter.polling.changefeed import ChangeQueue, PendingChanges
from exporter.polling.clock import Clock
from exporter.polling.ledger import Ledger
from exporter.polling.plan import MAX_LATE_SECONDS
from exporter.polling.poller import Poller
from exporter.token_bucket import TokenBucket
from exporter.vb365.records.changes import ChangeKind, SessionChange

log = structlog.get_logger()

RECOVERY_SECONDS = 10.0
# With this many changed sessions or more, a poll may be cheaper than fetching each.
_MIN_CHANGES_FOR_POLL = 50
# Requests between polls end this long before the next poll.
_MARGIN_SHARE = 0.1
_MAX_MARGIN_SECONDS = 1.0

_MAX_POLLS_AT_ONCE = 3
"""Allows a poll at the feed's start and one or two at quick restarts."""
_MAX_FETCHES_AT_ONCE = 50
_FETCHES_PER_SECOND = 5.0
_MIN_FULL_LIST_INTERVAL_SECONDS = 600.0


class PollLoop:
    """Schedules the polls of one server, and fetches the sessions that the change feed reports between them.

    `run` is the body of the server's poll thread; `poll` and `apply` are its steps.

    Args:
        server: the server's configuration.
        poller: makes the polls, and fetches sessions by id.
        ledger: the poller's ledger.
        queue: holds the change-feed events.
        clock: the process's clocks.
        stop: ends the loop. After setting it, call `queue.wake()` to end the current wait.
        after_poll: called after each scheduled poll.
        first_interval_seconds: time from the first poll that does not overrun to the next, by default the poll interval.
        recovery_seconds: time to the next poll after an exception, at most the poll interval.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        poller: Poller,
        ledger: Ledger,
        queue: ChangeQueue,
        clock: Clock,
        stop: threading.Event,
        after_poll: Callable[[], None] = lambda: None,
        first_interval_seconds: float | None = None,
        recovery_seconds: float = RECOVERY_SECONDS,
    ) -> None:
        self._server = server
        self._poller = poller
        self._ledger = ledger
        self._queue = queue
        self._clock = clock
        self._stop = stop
        self._after_poll = after_poll
        self._recovery_seconds = recovery_seconds
        self._due = self._delay = 0.0
        self._first_interval_seconds = first_interval_seconds or server.poll_interval
        self._limits = _FeedLimits(server.poll_interval)
        self._deletions_lost = False
        # The last change of each stored session, and when it was reported.
        self._recent: dict[str, tuple[SessionChange, float]] = {}

    def run(self) -> None:
        """Poll until stopped. Polls never overlap: after one that overran, the next starts immediately.

        No exception ends the loop: the next poll follows after `recovery_seconds`. If the exception kept a result from
        being published, the server is shown as down until the next poll ends.
        """
        self._due = self._clock.monotonic()
        self._delay = self._first_interval_seconds
        while not self._stop.is_set():
            try:
                self._poll_and_wait()
            except Exception as error:  # noqa: BLE001 - `fail_uncompleted` logs it
                with suppress(Exception):  # most likely out of memory
                    self._poller.fail_uncompleted(error)
                self._poller.heartbeat.beat()
                self._stop.wait(min(self._server.poll_interval, self._recovery_seconds))

    def _poll_and_wait(self) -> None:
        """Poll, and apply changes until the next poll is due."""
        interval = self._server.poll_interval
        started = self._clock.monotonic()
        self.poll(next_poll_at=self._due + self._delay)
        if self._stop.is_set():
            return  # how long an aborted poll took shows nothing
        self._after_poll()
        now = self._clock.monotonic()
        if now - started > interval:
            self._poller.anomalies.overran(now - started)
            self._due = now
        else:
            # Polls missed while the process was suspended are skipped.
            self._due = max(self._due + self._delay, now)
            self._delay = interval
        self._apply_changes_until(self._due)

    def _apply_changes_until(self, due: float) -> None:
        while True:
            pending = self._queue.wait(max(0.0, due - self._clock.monotonic()))
            self._poller.heartbeat.beat()
            if self._stop.is_set():
                return
            try:
                self.apply(pending, next_poll_at=due)
            except Exception:
                if pending.changes:
                    self._queue.mark_gap(lost=True)  # a full list replaces the lost events
                raise
            if self._clock.monotonic() >= due:
                return

    # Steps

    def poll(self, *, next_poll_at: float = inf) -> None:
        """Poll once; if the feed may have missed deletions, list all sessions to find them.

        Args:
            next_poll_at: when the next poll is due, in monotonic seconds; extras end before then.
        """
        self._limits.begin_poll()
        self._request_outdated()
        if self._deletions_lost and self._limits.try_take_full_list(self._clock.monotonic()):
            self._deletions_lost = False
            self._ledger.resync.make_due()
        self._poller.poll(end_extras_at=self._before(next_poll_at))

    def apply(self, pending: PendingChanges, *, next_poll_at: float = inf) -> None:
        """Act on what the feed has reported. Errors while fetching are not raised: the next poll retries and reports them.

        Args:
            pending: what it has reported.
            next_poll_at: when the next poll is due, in monotonic seconds; requests end before then.
        """
        if pending.left_out:
            self._poller.anomalies.changes_left_out(pending.left_out)
        self._deletions_lost = self._deletions_lost or pending.lost
        if pending.gap and self._limits.try_take_poll(self._clock.monotonic()):
            self.poll(next_poll_at=next_poll_at)
        if pending.changes:
            # Also after that poll: unless it read a full list, it cannot notice that a finished session was deleted.
            self._apply_changes(pending.changes, next_poll_at)

    def _apply_changes(self, changes: Sequence[SessionChange], next_poll_at: float) -> None:
        updated: tuple[str, ...] = ()
        polls = False
        now = self._clock.monotonic()
        try:
            updated = self._ledger.ids_to_fetch(changes)
            needs_poll = self._request_deleted(changes) or len(updated) >= _MIN_CHANGES_FOR_POLL
            polls = needs_poll and self._limits.try_take_poll(now)
            if polls:
                left_out = self._ledger.resync.request_by_id(filter(self._ledger.find, updated))
                if left_out:
                    self._poller.anomalies.changes_left_out(left_out)
            else:
                self._fetch(updated, now, next_poll_at)
            self._recent |= {
                change.session_id: (change, now)
                for change in changes
                if self._ledger.find(change.session_id)
            }
        except Exception:
            log.exception(
                "applying change-feed events failed, next poll retries", server=self._server.name
            )
            self._deletions_lost = True
        if polls:
            self.poll(next_poll_at=next_poll_at)
        elif not self._stop.is_set():
            # A running session may change with every restored item: only polls fetch its extras.
            self._poller.publish(updated, end_extras_at=self._before(next_poll_at))

    def _request_outdated(self) -> None:
        """Request stored sessions again whose reported change or deletion the server has not shown yet.

        The first poll after the report requests them, and every poll within a minute of it.
        """
        changes = [change for change, _ in self._recent.values()]
        updates = [change for change in changes if change.e_tag is not None]
        deleted = [change.session_id for change in changes if change.kind is ChangeKind.DELETE]
        outdated = filter(self._ledger.find, (*self._ledger.ids_to_fetch(updates), *deleted))
        if self._ledger.resync.request_by_id(outdated):
            self._deletions_lost = True
        oldest = self._clock.monotonic() - MAX_LATE_SECONDS
        self._recent = {
            session_id: (change, reported_at)
            for session_id, (change, reported_at) in self._recent.items()
            if reported_at > oldest
        }

    def _request_deleted(self, changes: Sequence[SessionChange]) -> bool:
        """Request deleted sessions by id, and return whether any is stored; a poll confirms it with a 404 and a list."""
        deleted = [
            change.session_id
            for change in changes
            if change.kind is ChangeKind.DELETE and self._ledger.find(change.session_id)
        ]
        # `_request_outdated` notices those that do not fit.
        self._ledger.resync.request_by_id(deleted)
        return bool(deleted)

    def _fetch(self, updated: tuple[str, ...], now: float, next_poll_at: float) -> None:
        """Fetch as many sessions as the limits allow, and leave the rest to the next poll."""
        allowed = self._limits.take_fetches(updated, now)
        stored = {session_id for session_id in updated if self._ledger.find(session_id)}
        # Lists find sessions that are not stored yet.
        unknown_left_out = len({*updated} - {*allowed} - stored - self._limits.fruitless)
        stored_left_out = self._ledger.resync.request_by_id(stored)
        if unknown_left_out or stored_left_out:
            self._poller.anomalies.changes_left_out(unknown_left_out + stored_left_out)
        again = set(allowed)
        until = self._before(next_poll_at)
        for session_id, exists in self._poller.fetch(allowed, until=until):
            is_stored = self._ledger.find(session_id) is not None
            if not is_stored:
                self._limits.fruitless.add(session_id)
            if is_stored or not exists:  # otherwise its record may be from before the change
                again.discard(session_id)
        self._ledger.resync.request_by_id(again)

    def _before(self, next_poll_at: float) -> float:
        margin_seconds = min(_MARGIN_SHARE * self._server.poll_interval, _MAX_MARGIN_SECONDS)
        return next_poll_at - margin_seconds


class _FeedLimits:
    """Limits the requests that the change feed causes. All times are monotonic seconds.

    Args:
        poll_interval_seconds: how often the server is polled in any case.

    Attributes:
        fruitless: the sessions that were still unknown after they were fetched: none is fetched again before the next poll.
    """

    def __init__(self, poll_interval_seconds: float) -> None:
        self._polls = TokenBucket(_MAX_POLLS_AT_ONCE, per_second=1 / poll_interval_seconds)
        self._fetches = TokenBucket(_MAX_FETCHES_AT_ONCE, per_second=_FETCHES_PER_SECOND)
        self._last_full_list_at = -inf
        self.fruitless: set[str] = set()

    def begin_poll(self) -> None:
        """Forget which fetches were fruitless."""
        self.fruitless.clear()

    def try_take_poll(self, now: float) -> bool:
        """Return whether the feed may cause a poll now; if so, use up a permit.

        There is one per poll interval on average, in bursts of three.
        """
        return self._polls.try_take(now)

    def try_take_full_list(self, now: float) -> bool:
        """Return whether the feed may cause a full list now; if so, use up the permit: there is one in ten minutes."""
        if now < self._last_full_list_at + _MIN_FULL_LIST_INTERVAL_SECONDS:
            return False
        self._last_full_list_at = now
        return True

    def take_fetches(self, session_ids: Iterable[str], now: float) -> tuple[str, ...]:
        """Return which sessions may be fetched now, and use up a permit for each.

        There are five per second on average, in bursts of 50.
        """
        promising = (one for one in session_ids if one not in self.fruitless)
        taken = tuple(islice(promising, self._fetches.refill(now)))
        self._fetches.take(len(taken))
        return taken
