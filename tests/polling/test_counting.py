"""Whatever disappears and returns, every session is counted exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.polling.plan import RESYNC_SECONDS
from exporter.polling.snapshot import Snapshot
from exporter.vb365.records.restore_session import RestoreSession, SessionResult
from support.ledger_harness import LedgerHarness
from support.sample_sessions import NOON, finished, running, session_id

FIRST, LAST = 1, 12
NUMBERS = st.integers(FIRST, LAST)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["start", "finish", "finish without end", "end", "reopen", "no change"]),
        NUMBERS,
        st.frozensets(NUMBERS),  # sessions that answer 404 by id
        st.frozensets(NUMBERS) | st.just(frozenset(range(FIRST, LAST + 1))),  # not in lists
        st.sampled_from([60.0, RESYNC_SECONDS]),
    ),
    max_size=15,
)
BEFORE = 3
"""Sessions up to this number run at the first poll."""


class Truth:
    """The sessions of a server, and how often each kind of event has happened since the first poll."""

    def __init__(self, harness: LedgerHarness) -> None:
        self._harness = harness
        self.started: set[str] = set()
        self.finished: set[str] = set()
        self.without_end: set[str] = set()
        """Opened again before their end was written."""
        harness.hold(finished(100), *(running(number) for number in range(FIRST, BEFORE + 1)))
        harness.poll()

    def change(self, kind: str, number: int) -> None:
        known = self._harness.server.get(session_id(number))
        if kind == "start" and known is None:
            self._harness.hold(running(number, creation_time=self._harness.now.wall))
            self.started.add(session_id(number))
        if kind.startswith("finish") and known is not None and not known.stopped:
            ended = stopped(known)
            self._harness.hold(ended._replace(end_time=None) if kind != "finish" else ended)
            self.finished.add(known.id)
        if kind == "end" and known is not None and known.stopped:
            self._harness.hold(stopped(known))
        if kind == "reopen" and known is not None and known.stopped:
            again = running(number, creation_time=known.creation_time)
            self._harness.hold(again)
            if known.end_time is None:
                self.without_end.add(known.id)


def stopped(session: RestoreSession) -> RestoreSession:
    end_time = session.creation_time + timedelta(seconds=30)
    return finished(1, id=session.id, creation_time=session.creation_time, end_time=end_time)


def ids(numbers: Collection[int]) -> set[str]:
    return {session_id(number) for number in numbers}


def totals(snapshot: Snapshot) -> tuple[int, int, int]:
    activity = snapshot.activity
    durations = sum(sum(histogram.counts) for histogram in activity.durations.values())
    return sum(activity.started.values()), sum(activity.finished.values()), durations


@given(CHANGES)
def test_every_session_is_counted_once(
    changes: list[tuple[str, int, frozenset[int], frozenset[int], float]],
) -> None:
    harness = LedgerHarness()
    truth = Truth(harness)
    for kind, number, hidden_by_id, hidden_in_lists, after_seconds in changes:
        truth.change(kind, number)
        harness.hidden_by_id = ids(hidden_by_id)
        harness.hidden_in_lists = ids(hidden_in_lists)
        harness.poll(after_seconds)
    for number in range(FIRST, LAST + 1):
        truth.change("end", number)
    harness.hidden_by_id = set()
    harness.hidden_in_lists = set()

    # A session that is finished and runs again before a poll has shown the exporter that it had finished.
    unseen = {
        one.session.id
        for one in harness.poll(RESYNC_SECONDS).running
        if one.session.id in truth.finished
    }

    snapshot = harness.poll(RESYNC_SECONDS)
    started, ended, in_histogram = totals(snapshot)
    assert started == len(truth.started)
    assert len(truth.finished) - len(unseen) <= ended <= len(truth.finished)
    assert ended - len(truth.without_end) <= in_histogram <= ended
    assert snapshot.sessions_known == len(harness.server)


def test_a_session_dated_slightly_ahead_at_the_first_poll_does_not_hide_later_starts() -> None:
    ahead = running(100, creation_time=NOON + timedelta(minutes=9))
    harness = LedgerHarness()
    harness.hold(ahead)
    harness.poll()
    harness.hold(running(1, creation_time=harness.now.wall + timedelta(seconds=30)))
    started = totals(harness.poll())

    harness.hidden_by_id = harness.hidden_in_lists = {ahead.id}
    harness.poll()
    harness.hidden_by_id = harness.hidden_in_lists = set()
    returned = totals(harness.poll())

    harness.hold(stopped(running(1, creation_time=NOON + timedelta(seconds=90))))
    assert (started, returned, totals(harness.poll())) == ((1, 0, 0), (1, 0, 0), (1, 1, 1))


# Finishes that the server writes in several steps


def results(snapshot: Snapshot) -> list[SessionResult]:
    return list(
        Counter({key[2]: count for key, count in snapshot.activity.finished.items()}).elements()
    )


def unwritten(session: RestoreSession) -> RestoreSession:
    """The record of a finished session whose `result` is still that of the running session."""
    return session._replace(result=SessionResult.SUCCESS, end_time=None, details="")


@pytest.mark.parametrize("known_as", ["running", "nothing"])
def test_a_finish_counts_with_the_result_that_is_written_after_the_state(known_as: str) -> None:
    failed = finished(1, result=SessionResult.FAILED)
    harness = LedgerHarness()
    harness.hold(finished(100))
    if known_as == "running":
        harness.hold(running(1))
    harness.poll()
    harness.hold(unwritten(failed))
    before = harness.poll()

    harness.hold(failed)

    assert (results(before), results(harness.poll(10))) == ([], [SessionResult.FAILED])
    assert results(harness.poll()) == [SessionResult.FAILED]


def test_a_finish_counts_when_its_end_is_known_although_details_are_missing() -> None:
    harness = LedgerHarness()
    harness.hold(running(1))
    harness.poll()

    harness.hold(finished(1, details=""))

    assert totals(harness.poll()) == (0, 1, 1)
    assert totals(harness.poll()) == (0, 1, 1)


@pytest.mark.parametrize(("interval", "polls"), [(20, 3), (60, 1), (300, 1)])
def test_a_finish_whose_end_is_never_written_counts_after_a_minute_and_a_poll(
    interval: int, polls: int
) -> None:
    harness = LedgerHarness()
    harness.hold(running(1))
    harness.poll()
    harness.hold(unwritten(finished(1)))
    harness.poll()

    counts = [len(results(harness.poll(interval))) for _ in range(polls)]

    assert counts == [0] * (polls - 1) + [1]
    assert totals(harness.poll(interval)) == (0, 1, 0)


def test_a_finish_counts_as_it_was_last_seen_when_its_session_is_opened_again() -> None:
    harness = LedgerHarness()
    harness.hold(running(1))
    harness.poll()
    harness.hold(unwritten(finished(1)))
    harness.poll(10)
    harness.hold(unwritten(finished(1))._replace(result=SessionResult.WARNING))
    harness.poll(10)

    harness.hold(running(1))
    reopened = harness.poll(10)
    harness.hold(finished(1, result=SessionResult.FAILED))
    again = harness.poll(10)

    assert (results(reopened), results(again)) == ([SessionResult.WARNING],) * 2


def test_a_finish_counts_as_it_was_last_seen_when_its_session_is_deleted() -> None:
    harness = LedgerHarness()
    harness.hold(finished(100), running(1))
    harness.poll()
    harness.hold(unwritten(finished(1)))
    assert results(harness.poll()) == []

    del harness.server[session_id(1)]

    assert results(harness.poll(10)) == [SessionResult.SUCCESS]
    assert results(harness.poll()) == [SessionResult.SUCCESS]
