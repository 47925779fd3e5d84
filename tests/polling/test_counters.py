from __future__ import annotations

from datetime import timedelta

import pytest

from exporter.polling.counters import ActivityCounters, FinishedCounts, finished_key
from exporter.vb365.records.extras import EventOperation, EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType
from support.ledger_harness import sessions_config
from support.sample_sessions import finished, running

CONTOSO = "contoso.onmicrosoft.com"
SUCCESS = (CONTOSO, SessionType.VEX, SessionResult.SUCCESS)
FAILED = (CONTOSO, SessionType.VEX, SessionResult.FAILED)


def lasting(seconds: float, **fields: object) -> RestoreSession:
    end_time = finished(1).creation_time + timedelta(seconds=seconds)
    return finished(1, end_time=end_time, **fields)


def count_finish(counters: ActivityCounters, session: RestoreSession) -> None:
    counters.expect(session)
    counters.count_finished(session)


class Counted:
    """Counts of the sessions in a list."""

    def __init__(self, *sessions: RestoreSession) -> None:
        self.sessions: list[RestoreSession] = []
        self.searches = 0
        self.counts = FinishedCounts(self._all)
        for session in sessions:
            self.add(session)

    def _all(self) -> list[RestoreSession]:
        self.searches += 1
        return self.sessions

    def add(self, session: RestoreSession) -> None:
        self.sessions.append(session)
        self.counts.add(session)

    def remove(self, session: RestoreSession) -> None:
        self.sessions.remove(session)
        self.counts.remove(session)


def counts_of(*sessions: RestoreSession) -> FinishedCounts:
    return Counted(*sessions).counts


def without(removed: RestoreSession, *sessions: RestoreSession) -> FinishedCounts:
    counted = Counted(removed, *sessions)
    counted.remove(removed)
    return counted.counts


def test_a_session_without_a_result_counts_as_unknown() -> None:
    assert finished_key(finished(1, result=None)) == (*SUCCESS[:2], SessionResult.UNKNOWN)


def test_the_newest_end_of_a_kind_is_known_in_whatever_order_sessions_come() -> None:
    counts = counts_of(finished(2), finished(1), finished(3))

    assert dict(counts.stopped) == {SUCCESS: 3}
    assert counts.last_end == {SUCCESS: finished(1).end_time}


def test_a_session_without_an_end_is_counted_and_has_no_newest_end() -> None:
    counts = counts_of(finished(1, end_time=None))

    assert (dict(counts.stopped), counts.last_end) == ({SUCCESS: 1}, {})


def test_the_last_session_of_a_kind_takes_the_kind_along() -> None:
    counts = without(finished(1), finished(2, result=SessionResult.FAILED))

    assert dict(counts.stopped) == {FAILED: 1}
    assert counts.last_end == {FAILED: finished(2).end_time}


def test_the_last_session_without_an_end_takes_its_kind_along() -> None:
    counts = without(finished(1, end_time=None))

    assert (dict(counts.stopped), counts.last_end) == ({}, {})


def test_without_the_newest_session_the_newest_of_its_kind_that_remains_counts() -> None:
    failed = finished(2, result=SessionResult.FAILED)
    counts = without(finished(1), failed, finished(3), finished(4))

    assert dict(counts.stopped) == {SUCCESS: 2, FAILED: 1}
    assert counts.last_end[SUCCESS] == finished(3).end_time


def test_without_an_older_session_the_newest_end_stays() -> None:
    counts = without(finished(2), finished(1))

    assert counts.last_end == {SUCCESS: finished(1).end_time}


def test_where_only_sessions_without_an_end_remain_there_is_no_newest_end() -> None:
    counts = without(finished(1), finished(2, end_time=None))

    assert (dict(counts.stopped), counts.last_end) == ({SUCCESS: 1}, {})


def test_however_many_sessions_with_one_end_are_removed_the_others_are_searched_once() -> None:
    end = finished(1).end_time
    counted = Counted(*(finished(number, end_time=end) for number in range(1, 10)))

    for number in range(1, 8):
        counted.remove(finished(number, end_time=end))

    assert counted.searches == 0
    assert counted.counts.last_end == counted.counts.last_end == {SUCCESS: end}
    assert counted.searches == 1


def test_however_many_sessions_that_ended_last_are_removed_the_others_are_searched_once() -> None:
    counted = Counted(*map(finished, range(1, 10)))

    for number in range(1, 8):
        counted.remove(finished(number))

    assert counted.counts.last_end == {SUCCESS: finished(8).end_time}
    assert counted.searches == 1


def test_a_session_that_is_added_after_the_last_one_was_removed_may_be_the_last() -> None:
    counted = Counted(finished(2), finished(3))
    counted.remove(finished(2))
    counted.add(finished(1))

    assert counted.counts.last_end == {SUCCESS: finished(1).end_time}


def test_a_kind_without_sessions_is_not_searched_for() -> None:
    counted = Counted(finished(1), finished(2))
    counted.remove(finished(1))
    counted.remove(finished(2))

    assert (dict(counted.counts.last_end), counted.searches) == ({}, 0)


def test_organizations_with_counts_are_not_forgotten() -> None:
    counters = ActivityCounters(sessions_config())
    for organization in ("a", CONTOSO, "fabrikam.onmicrosoft.com"):
        counters.organizations.add(organization, 0.0)
    counters.count_started(running(1))
    counters.count_finished(finished(2, organization="fabrikam.onmicrosoft.com"))

    counters.forget_organizations(9.0)

    assert counters.activity().organizations == (CONTOSO, "fabrikam.onmicrosoft.com")


def test_to_make_room_organizations_are_forgotten_with_their_counts() -> None:
    counters = ActivityCounters(sessions_config(extras=["statistics", "events"]))
    events = EventSummary(counts={}, size_bytes={EventOperation.RESTORE: 7})
    for number, organization in ((1, "a"), (2, CONTOSO)):
        counters.organizations.add(organization, 0.0)
        counters.count_started(running(number, organization=organization))
        session = finished(number, organization=organization)
        count_finish(counters, session)
        counters.restored.add(session.id, "statistics", Statistics(restored=3))
        counters.restored.add(session.id, "events", events)

    counters.make_room({"a", "other"})

    activity = counters.activity()
    assert activity.organizations == ("a",)
    for counts in (
        activity.started,
        activity.finished,
        activity.restored_items,
        activity.event_bytes,
    ):
        assert [key[0] for key in counts] == ["a"]


def test_starts_are_counted_by_organization_and_type() -> None:
    counters = ActivityCounters(sessions_config())
    counters.count_started(running(1))
    counters.count_started(running(2))
    counters.count_started(running(3, type=SessionType.VET))

    assert dict(counters.activity().started) == {
        (CONTOSO, SessionType.VEX): 2,
        (CONTOSO, SessionType.VET): 1,
    }


def test_finishes_are_counted_by_result_and_their_durations_by_type() -> None:
    counters = ActivityCounters(sessions_config())
    count_finish(counters, lasting(30))
    count_finish(counters, lasting(45, result=SessionResult.FAILED))
    count_finish(counters, lasting(45, result=SessionResult.FAILED))

    activity = counters.activity()

    assert dict(activity.finished) == {SUCCESS: 1, FAILED: 2}
    assert activity.durations[SessionType.VEX].sum_seconds == 120.0
    assert activity.durations[SessionType.VEX].counts[:4] == (0, 1, 2, 0)


@pytest.mark.parametrize(
    ("bucket", "bound"),
    list(
        enumerate((10, 30, 60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 259_200)),
    ),
)
def test_a_duration_falls_into_the_first_bucket_that_is_as_long(bucket: int, bound: int) -> None:
    assert bucket_of(bound) == bucket
    assert bucket_of(bound + 0.5) == bucket + 1


def test_a_duration_of_nothing_falls_into_the_first_bucket() -> None:
    assert bucket_of(0.0) == 0


def bucket_of(seconds: float) -> int:
    counters = ActivityCounters(sessions_config())
    count_finish(counters, lasting(seconds))
    counts = counters.activity().durations[SessionType.VEX].counts
    assert (len(counts), sum(counts)) == (13, 1)
    return counts.index(1)


def test_a_finish_without_a_duration_is_counted_and_in_no_histogram() -> None:
    counters = ActivityCounters(sessions_config())
    count_finish(counters, finished(1, end_time=None))

    activity = counters.activity()

    assert (dict(activity.finished), dict(activity.durations)) == ({SUCCESS: 1}, {})


@pytest.mark.parametrize(("max_sessions", "awaited"), [(1, 10_000), (10_001, 10_001)])
def test_durations_of_a_bounded_number_of_finishes_are_awaited(
    max_sessions: int, awaited: int
) -> None:
    counters = ActivityCounters(sessions_config(max_sessions=max_sessions))
    numbers = range(awaited + 1)
    for number in numbers:
        counters.expect(finished(number, end_time=None))
    for number in numbers:
        counters.count_awaited_duration(finished(number))

    assert sum(counters.activity().durations[SessionType.VEX].counts) == awaited


def test_a_published_activity_does_not_change() -> None:
    counters = ActivityCounters(sessions_config())
    count_finish(counters, finished(1))
    before = counters.activity()

    counters.count_started(running(1))
    count_finish(counters, finished(2))

    assert dict(before.started) == {}
    assert dict(before.finished) == {SUCCESS: 1}
    assert sum(before.durations[SessionType.VEX].counts) == 1
