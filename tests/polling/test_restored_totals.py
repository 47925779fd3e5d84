"""What finished sessions have restored is counted once, whatever happens to them and to the requests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest

from exporter.config import Extra
from exporter.polling.counters import RestoredTotals
from exporter.vb365.errors import StoppedError, ThrottledError, Vb365Error
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.extras import EventOperation, EventSummary, Statistics
from exporter.vb365.records.restore_session import (
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
)
from support.ledger_harness import sessions_config
from support.poller_harness import PollerHarness, server_error
from support.sample_sessions import NOON, finished, running, session_id

CONTOSO = "contoso.onmicrosoft.com"
ONE = session_id(60)
THREE = Statistics(restored=3, failed=1, skipped=0)
EXPORTED = EventSummary(counts={}, size_bytes={EventOperation.NONE: 0, EventOperation.EXPORT: 4096})
UPDATE = SessionChange(kind=ChangeKind.UPDATE, session_id=ONE)


def harness_with(
    *sessions: RestoreSession,
    extras: Iterable[Extra] = ("statistics",),
    max_sessions: int = 200_000,
) -> PollerHarness:
    """A poller that has polled once; session 60 has three items."""
    follow = sessions_config(extras=extras, max_sessions=max_sessions)
    harness = PollerHarness(*sessions, follow=follow)
    harness.api.statistics_of[ONE] = THREE
    harness.api.events_of[ONE] = EXPORTED
    harness.poll()
    return harness


def stop(harness: PollerHarness, number: int = 60) -> None:
    """Let a running session end."""
    session = running(number)
    now = harness.clock.now().wall
    harness.api.sessions[session.id] = session._replace(
        state=SessionState.STOPPED,
        result=SessionResult.SUCCESS,
        end_time=now,
        details="0 items processed",
    )


def items(harness: PollerHarness) -> dict[str, int]:
    """The items of Exchange sessions of the one organization, by outcome."""
    counted = harness.published[-1].activity.restored_items
    assert {key[:2] for key in counted} <= {(CONTOSO, SessionType.VEX)}
    return {outcome: number for (*_, outcome), number in counted.items()}


ONCE = {"restored": 3, "failed": 1, "skipped": 0}


def test_requests_that_reloads_abort_use_up_no_attempts() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.api.statistics_of[ONE] = StoppedError("aborted", operation="statistics")
    for _ in range(3):
        harness.poll()

    harness.api.statistics_of[ONE] = THREE
    harness.poll()

    assert items(harness) == ONCE
    assert harness.counts.failed_extras == []


def test_a_finished_session_adds_its_items_and_bytes_once() -> None:
    harness = harness_with(running(60), extras=["statistics", "events"])
    assert items(harness) == {}
    stop(harness)

    for _ in range(3):
        harness.poll()
        assert items(harness) == ONCE
        assert harness.published[-1].activity.event_bytes == {
            (CONTOSO, SessionType.VEX, EventOperation.NONE): 0,
            (CONTOSO, SessionType.VEX, EventOperation.EXPORT): 4096,
        }


def test_sessions_add_up() -> None:
    harness = harness_with(running(60), running(50), extras=["statistics", "events"])
    harness.api.statistics_of[session_id(50)] = Statistics(restored=2)
    harness.api.events_of[session_id(50)] = EXPORTED
    stop(harness)
    harness.poll()
    stop(harness, 50)
    harness.poll()

    assert items(harness) == {"restored": 5, "failed": 1, "skipped": 0}
    assert harness.published[-1].activity.event_bytes == {
        (CONTOSO, SessionType.VEX, EventOperation.NONE): 0,
        (CONTOSO, SessionType.VEX, EventOperation.EXPORT): 8192,
    }


def test_what_was_finished_at_the_first_poll_adds_nothing() -> None:
    harness = harness_with(finished(60))
    harness.poll()

    assert items(harness) == {}


def test_a_session_that_ran_between_two_polls_adds_its_items() -> None:
    harness = harness_with(finished(1))
    now = harness.clock.now().wall
    details = "4 items processed"
    harness.api.sessions[ONE] = finished(60, creation_time=now, end_time=now, details=details)
    harness.poll()

    assert items(harness) == ONCE


def test_an_end_that_the_feed_reports_and_polls_see_counts_once() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.apply_changes(UPDATE)
    assert items(harness) == ONCE

    harness.apply_changes(UPDATE)
    harness.poll()
    harness.apply_changes(UPDATE)

    assert items(harness) == ONCE


def test_an_end_that_the_feed_reports_counts_when_the_next_poll_gets_its_extras() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    harness.apply_changes(UPDATE)
    harness.api.statistics_of[ONE] = THREE
    harness.poll()

    assert items(harness) == ONCE


@pytest.mark.parametrize(("failures", "expected"), [(1, ONCE), (2, ONCE), (3, {})])
def test_extras_that_fail_at_first_count_once_and_those_that_stay_unknown_never(
    failures: int, expected: dict[str, int]
) -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    for _ in range(failures):
        harness.poll()
        assert items(harness) == {}
    harness.api.statistics_of[ONE] = THREE
    for _ in range(3):
        harness.poll()

    assert items(harness) == expected


def test_extras_that_come_late_count_once() -> None:
    harness = harness_with(running(60))
    stop(harness)
    throttled = ThrottledError("enough", operation="statistics", status=429, retry_after_seconds=1)
    harness.api.statistics_of[ONE] = throttled
    for _ in range(10):
        harness.poll()
    harness.api.statistics_of[ONE] = THREE
    for _ in range(2):
        harness.poll()

    assert items(harness) == ONCE


def test_each_extra_counts_by_itself() -> None:
    harness = harness_with(running(60), extras=["statistics", "events"])
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    for _ in range(4):
        harness.poll()

    assert items(harness) == {}
    assert sum(harness.published[-1].activity.event_bytes.values()) == 4096


def test_a_session_that_disappears_and_returns_is_not_counted_again() -> None:
    harness = harness_with(running(60), finished(1))
    stop(harness)
    harness.poll()
    disappear_and_return(harness)

    assert items(harness) == ONCE


def test_a_session_that_disappears_before_it_is_counted_counts_when_it_returns() -> None:
    harness = harness_with(running(60), finished(1))
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    harness.poll()
    harness.api.statistics_of[ONE] = THREE
    disappear_and_return(harness)
    harness.poll()

    assert items(harness) == ONCE


def disappear_and_return(harness: PollerHarness) -> None:
    session = harness.api.sessions.pop(ONE)
    deleted = SessionChange(kind=ChangeKind.DELETE, session_id=ONE)
    assert harness.apply_changes(deleted).sessions_known == 1
    assert f"statistics {ONE}" not in harness.api.calls
    harness.api.sessions[ONE] = session
    assert harness.apply_changes(UPDATE).sessions_known == 2


def test_a_session_whose_extras_stay_unknown_is_not_counted_when_it_returns() -> None:
    harness = harness_with(running(60), finished(1))
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    for _ in range(3):
        harness.poll()
    harness.api.statistics_of[ONE] = THREE
    disappear_and_return(harness)
    harness.poll()

    assert items(harness) == {}


def test_a_session_that_disappears_while_running_and_returns_finished_counts() -> None:
    harness = harness_with(running(60), finished(1))
    del harness.api.sessions[ONE]
    assert harness.poll().sessions_known == 1
    stop(harness)
    harness.apply_changes(UPDATE)
    harness.poll()

    assert items(harness) == ONCE


def test_a_session_that_is_reopened_is_not_counted_again() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.poll()
    harness.api.sessions[ONE] = running(60)
    harness.apply_changes(UPDATE)
    harness.api.statistics_of[ONE] = Statistics(restored=9)
    stop(harness)
    for _ in range(2):
        harness.poll()

    assert items(harness) == ONCE


@pytest.mark.parametrize(
    ("first", "expected"), [(THREE, ONCE), (server_error("statistics"), {"restored": 9})]
)
def test_a_session_that_ends_again_between_two_polls_is_counted_once(
    first: Statistics | Vb365Error, expected: dict[str, int]
) -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.api.statistics_of[ONE] = first
    harness.poll()
    harness.api.statistics_of[ONE] = Statistics(restored=9)
    stop(harness)
    for _ in range(2):
        harness.poll()

    assert items(harness) == expected
    assert sum(harness.published[-1].activity.finished.values()) == 1


def test_a_session_that_is_reopened_before_it_is_counted_counts_after_its_last_end() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    harness.poll()
    harness.api.sessions[ONE] = running(60)
    harness.api.statistics_of[ONE] = Statistics(restored=9)
    harness.apply_changes(UPDATE)
    harness.poll()
    assert items(harness) == {}
    stop(harness)
    for _ in range(2):
        harness.poll()

    assert items(harness) == {"restored": 9}


def test_a_session_that_had_left_the_store_when_its_extras_came_counts() -> None:
    harness = harness_with(running(60), max_sessions=2)
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    harness.poll()
    now = harness.clock.now().wall
    for number in (1, 2):  # two newer ones evict it
        harness.api.sessions[session_id(number)] = finished(number, creation_time=now, end_time=now)
    harness.api.statistics_of[ONE] = THREE
    snapshot = harness.poll()

    assert ONE not in {one.id for block in snapshot.finished for one in block.sessions}
    assert items(harness)["restored"] == 3
    harness.poll()
    assert f"statistics {ONE}" not in harness.api.calls


def test_a_session_that_returns_running_counts_after_its_last_end() -> None:
    harness = harness_with(running(60), max_sessions=2)
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    harness.poll()
    now = harness.clock.now().wall
    newer = [finished(number, creation_time=now, end_time=now) for number in (1, 2)]
    harness.api.sessions |= {session.id: session for session in newer}  # they evict it
    harness.poll()
    harness.api.sessions = {ONE: running(60)}
    harness.api.statistics_of[ONE] = THREE
    harness.apply_changes(UPDATE)
    harness.poll()
    assert items(harness) == {"restored": 0}  # of the newer ones
    stop(harness)
    harness.api.statistics_of[ONE] = Statistics(restored=9)
    harness.poll()

    assert items(harness) == {"restored": 9}


def test_a_session_that_is_past_its_lookback_when_its_end_is_seen_counts() -> None:
    harness = harness_with(finished(1))
    harness.clock.seconds += 10 * 86_400
    long_ago = harness.clock.now().wall - timedelta(days=8)
    harness.api.sessions[ONE] = finished(60, creation_time=long_ago, end_time=long_ago)
    for _ in range(2):
        harness.poll()

    assert items(harness) == ONCE


def test_a_counted_session_that_ends_again_past_its_lookback_is_not_requested() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.poll()
    harness.api.sessions[ONE] = running(60)
    harness.apply_changes(UPDATE)
    long_ago = harness.clock.now().wall - timedelta(days=8)
    harness.api.sessions[ONE] = finished(60, creation_time=long_ago, end_time=long_ago)
    harness.poll()

    assert f"statistics {ONE}" not in harness.api.calls


def test_it_counts_under_the_organization_with_which_it_ended() -> None:
    harness = harness_with(running(60))
    stop(harness)
    harness.api.statistics_of[ONE] = server_error("statistics")
    harness.poll()
    session = harness.api.sessions[ONE]
    harness.api.sessions[ONE] = session._replace(organization="renamed.example")
    harness.api.statistics_of[ONE] = THREE
    harness.poll()

    assert items(harness) == ONCE


@pytest.mark.parametrize(("max_sessions", "awaited"), [(1, 10_000), (10_001, 10_001)])
def test_the_extras_of_a_bounded_number_of_sessions_are_awaited(
    max_sessions: int, awaited: int
) -> None:
    settings = sessions_config(max_sessions=max_sessions, extras=("statistics", "events"))
    totals = RestoredTotals(settings)
    sessions = [
        RestoreSession(
            id=str(number),
            type=SessionType.VEX,
            state=SessionState.STOPPED,
            creation_time=NOON,
            organization=CONTOSO,
        )
        for number in range(awaited + 1)
    ]
    for session in sessions:
        totals.expect(session)
    for session in sessions:
        totals.add(session.id, "statistics", Statistics(restored=1))

    assert sum(totals.items().values()) == awaited
