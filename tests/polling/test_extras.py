"""How the extras of sessions are fetched, stored, and dropped when stale."""

from __future__ import annotations

import cProfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.config import Extra
from exporter.polling.changefeed import PendingChanges
from exporter.polling.clock import Moment
from exporter.polling.counters import RestoredTotals
from exporter.polling.extras import Extras
from exporter.polling.interfaces import ExtraRequest
from exporter.polling.snapshot import Snapshot
from exporter.polling.store import SessionStore
from exporter.polling.transition import Transition
from exporter.vb365.errors import (
    ConnectError,
    NotFoundError,
    Reason,
    RequestTimeoutError,
    StoppedError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.extras import EventOperation, EventStatus, EventSummary, Statistics
from exporter.vb365.records.fields import UnknownValue
from exporter.vb365.records.restore_session import (
    Page,
    RestoreSession,
    SessionResult,
    SessionState,
)
from support.ledger_harness import sessions_config
from support.poller_harness import FakeApi, FakeEvents, PollerHarness, server_error
from support.sample_sessions import NOON, finished, running, session_id

THREE = Statistics(restored=3)
SEEN = EventSummary(
    counts={(EventOperation.VIEW, EventStatus.SUCCESS): 2}, size_bytes={EventOperation.VIEW: 0}
)


def harness_with(
    *sessions: RestoreSession,
    extras: Iterable[Extra] = ("statistics",),
    max_series: int = 1000,
    max_concurrent_requests: int = 8,
) -> PollerHarness:
    return PollerHarness(
        *sessions,
        follow=sessions_config(extras=extras, max_series=max_series),
        max_concurrent_requests=max_concurrent_requests,
    )


def stopped(session: RestoreSession) -> RestoreSession:
    return session._replace(
        state=SessionState.STOPPED,
        result=SessionResult.SUCCESS,
        end_time=NOON,
        details="0 items processed",
    )


def requested(harness: PollerHarness) -> list[str]:
    return [call for call in harness.api.calls if call.startswith(("statistics", "events"))]


def series_of(snapshot: Snapshot, number: int) -> RestoreSession:
    """A session that has series."""
    every = [one.session for one in snapshot.running] + [
        session for block in snapshot.finished for session in block.sessions
    ]
    return next(session for session in every if session.id == session_id(number))


def test_extras_of_running_sessions_are_fetched_at_every_poll() -> None:
    harness = harness_with(running(60), finished(1), extras=["statistics", "events"])
    harness.api.statistics_of[session_id(60)] = THREE
    harness.api.events_of[session_id(60)] = SEEN

    for _ in range(2):
        snapshot = harness.poll()

        assert sorted(requested(harness), reverse=True) == [
            f"statistics {session_id(60)}",
            f"events {session_id(60)}",
        ]
        assert series_of(snapshot, 60).statistics == THREE
        assert series_of(snapshot, 60).events == SEEN


def test_extras_of_a_finished_session_are_fetched_once_more_and_never_again() -> None:
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = THREE

    harness.poll()
    requested_after_the_finish = requested(harness)
    snapshot = harness.poll()

    assert requested_after_the_finish == [f"statistics {session_id(60)}"]
    assert requested(harness) == []
    assert series_of(snapshot, 60).statistics == THREE


def test_extras_of_sessions_that_were_finished_at_the_first_poll_are_not_fetched() -> None:
    harness = harness_with(finished(1), finished(2))

    harness.poll()

    assert requested(harness) == []


def test_extras_of_a_session_that_ran_between_two_polls_are_fetched_once() -> None:
    harness = harness_with(finished(60))
    harness.poll()
    now = harness.clock.now().wall
    harness.api.sessions[session_id(1)] = finished(1, creation_time=now, end_time=now)

    harness.poll()

    assert requested(harness) == [f"statistics {session_id(1)}"]


def test_extras_of_sessions_without_series_are_not_fetched() -> None:
    harness = harness_with(running(60), running(50), running(40), max_series=1)

    harness.poll()

    assert requested(harness) == [f"statistics {session_id(40)}"]


def test_statistics_are_not_requested_from_a_version_without_them() -> None:
    harness = harness_with(running(60), extras=["statistics", "events"])
    harness.api.has_statistics = False

    for _ in range(5):
        harness.poll()
        assert requested(harness) == [f"events {session_id(60)}"]
    harness.api.sessions[session_id(60)] = stopped(running(60))
    for expected in ([f"events {session_id(60)}"], *[[]] * 9):
        harness.poll()
        assert requested(harness) == expected

    assert harness.counts.failed_extras == []
    harness.poll(has_statistics=True)  # the server lacked its newest version while it started
    assert requested(harness) == [f"statistics {session_id(60)}"]


@pytest.mark.parametrize(("hours", "due"), [(23, True), (24, False)])
def test_statistics_that_a_version_does_not_have_are_awaited_for_a_day(
    hours: int,
    due: bool,  # noqa: FBT001 - a parameter
) -> None:
    harness = harness_with(running(60))
    harness.api.has_statistics = False
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.poll()
    harness.clock.seconds += hours * 3600
    harness.poll()
    assert harness.counts.failed_extras == [("statistics", Reason.TIMEOUT)] * (not due)

    harness.poll(has_statistics=True)

    assert requested(harness) == [f"statistics {session_id(60)}"] * due


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"end_time": NOON}, 1),
        ({"details": "3 items processed"}, 1),
        ({"name": "renamed", "organization": "renamed.example.com"}, 0),
    ],
    ids=["another end", "other details", "other name"],
)
@pytest.mark.parametrize("seen_running", [True, False])
def test_extras_are_requested_again_if_a_session_ended_again_between_two_polls(
    changes: dict[str, Any],
    calls: int,
    seen_running: bool,  # noqa: FBT001 - a parameter
) -> None:
    ended = finished(60, details="0 items processed")
    harness = harness_with(running(60) if seen_running else ended)
    harness.poll()
    harness.api.sessions[session_id(60)] = ended
    harness.poll()

    harness.api.sessions[session_id(60)] = ended._replace(**changes)
    snapshot = harness.poll(statistics_of={session_id(60): THREE})

    assert requested(harness) == [f"statistics {session_id(60)}"] * calls
    known = Statistics(restored=0) if seen_running else None
    assert series_of(snapshot, 60).statistics == (THREE if calls else known)
    harness.poll()
    assert requested(harness) == []


def test_extras_that_were_counted_are_not_requested_again_once_their_session_has_expired() -> None:
    follow = sessions_config(extras=["statistics"], lookback=3600.0)
    harness = PollerHarness(running(30), follow=follow)
    harness.api.statistics_of[session_id(30)] = Statistics(restored=30)
    harness.poll()
    for ended in (finished(30), finished(30, end_time=NOON)):
        harness.api.sessions[ended.id] = ended
        harness.poll(has_statistics=ended == finished(30))
    harness.clock.seconds += 3600

    harness.poll(has_statistics=True)

    assert requested(harness) == []


def test_an_extra_that_fails_is_counted_and_does_not_fail_the_poll() -> None:
    harness = harness_with(running(60), running(50))
    error = server_error("statistics")
    harness.api.statistics_of[session_id(50)] = error
    harness.api.statistics_of[session_id(60)] = THREE

    with capture_logs() as logs:
        snapshot = harness.poll()
        harness.poll()

    assert snapshot.status.up
    assert series_of(snapshot, 60).statistics == THREE
    assert harness.counts.failed_extras == [("statistics", Reason.SERVER_ERROR)] * 2
    assert [entry for entry in logs if entry["log_level"] == "warning"] == [
        {
            "event": "request for session extra failed, the session itself is not affected",
            "server": "hq",
            "extra": "statistics",
            "reason": Reason.SERVER_ERROR,
            "session_id": session_id(50),
            "error": str(error),
            "log_level": "warning",
        }
    ]


def test_an_extra_that_fails_keeps_its_last_value_until_it_is_stale() -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()

    harness.api.statistics_of[session_id(60)] = server_error("statistics")
    kept = [
        series_of(harness.poll(), 60).statistics for _ in range(4)
    ]  # a minute each; stale after three

    assert kept == [THREE, THREE, None, None]


def test_extras_of_a_finished_session_are_requested_three_times_and_then_unknown() -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = NotFoundError("gone", operation="statistics")

    tries = []
    for _ in range(5):
        snapshot = harness.poll()
        tries.append((len(requested(harness)), series_of(snapshot, 60).statistics))

    assert tries == [(1, THREE), (1, THREE), (1, None), (0, None), (0, None)]


@pytest.mark.parametrize(
    ("early", "final"),
    [
        (Statistics(restored=0), THREE),
        (Statistics(restored=1, failed=0, skipped=0, total=3), THREE),
        (Statistics(restored=1, failed=1, skipped=0), THREE),
        (Statistics(), THREE),
        (Statistics(restored=0), Statistics(restored=0)),
    ],
)
def test_statistics_that_contradict_the_session_are_requested_again_for_a_minute(
    early: Statistics, final: Statistics
) -> None:
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = finished(60, details="3 items processed")
    harness.api.statistics_of[session_id(60)] = early

    before = harness.poll()
    harness.api.statistics_of[session_id(60)] = final
    after = harness.poll()
    harness.poll()

    assert series_of(before, 60).statistics == early
    assert sum(before.activity.restored_items.values()) == 0
    assert series_of(after, 60).statistics == final
    assert sum(after.activity.restored_items.values()) == final.restored
    assert requested(harness) == []


@pytest.mark.parametrize("unwritten", [{"details": ""}, {"end_time": None}])
def test_a_session_is_recorded_with_its_extras_once_its_record_is_complete(
    unwritten: dict[str, Any],
) -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()
    ended = stopped(running(60))
    harness.api.sessions[ended.id] = ended._replace(**unwritten)
    harness.clock.seconds -= 50
    harness.poll()
    assert [one for one in harness.recorded if one.stopped] == []

    harness.api.sessions[ended.id] = ended
    harness.poll()

    assert [one for one in harness.recorded if one.stopped] == [ended._replace(statistics=THREE)]


@pytest.mark.parametrize("unwritten", [{"details": ""}, {"end_time": None}])
def test_a_session_whose_record_stays_incomplete_is_recorded_after_a_minute(
    unwritten: dict[str, Any],
) -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()
    ended = stopped(running(60))._replace(**unwritten)
    harness.api.sessions[ended.id] = ended

    harness.poll()
    assert [one for one in harness.recorded if one.stopped] == []
    harness.poll()

    assert [one for one in harness.recorded if one.stopped] == [ended._replace(statistics=THREE)]


def after_failures_in_the_first_minute() -> PollerHarness:
    """A session has just finished, and ten requests for its statistics have failed since."""
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = NotFoundError("not yet", operation="statistics")
    for _ in range(10):
        harness.clock.seconds -= 58
        harness.poll()
    return harness


def test_failures_in_the_first_minute_leave_an_attempt_for_later() -> None:
    harness = after_failures_in_the_first_minute()

    harness.api.statistics_of[session_id(60)] = THREE
    snapshot = harness.poll()

    assert sum(snapshot.activity.restored_items.values()) == 3


def test_a_failure_after_failures_in_the_first_minute_is_the_last() -> None:
    harness = after_failures_in_the_first_minute()

    harness.poll()
    assert len(requested(harness)) == 1
    harness.poll()
    assert requested(harness) == []


def test_a_finished_session_is_recorded_with_provisional_extras() -> None:
    partial = Statistics(restored=2, failed=0, skipped=0, total=3)
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = Statistics(restored=1)
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = partial

    harness.poll()

    assert [one.statistics for one in harness.recorded if one.stopped] == [partial]


@pytest.mark.parametrize("how", ["deleted", "failing", "expired"])
def test_provisional_extras_count_if_nothing_better_follows(how: str) -> None:
    partial = Statistics(restored=2, failed=0, skipped=0, total=3)
    harness = PollerHarness(
        running(60), finished(1), follow=sessions_config(extras=["statistics"], lookback=7200.0)
    )
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = partial
    before = harness.poll()
    harness.clock.seconds -= 59
    if how == "deleted":
        del harness.api.sessions[session_id(60)]
        harness.clock.seconds += 3600
    else:
        harness.api.statistics_of[session_id(60)] = server_error("statistics")
        harness.clock.seconds += 7200 if how == "expired" else 0

    for _ in range(4):
        after = harness.poll()

    assert sum(before.activity.restored_items.values()) == 0
    assert sum(after.activity.restored_items.values()) == 2
    if how == "failing":
        assert series_of(after, 60).statistics == partial


@pytest.mark.parametrize(
    "unwritten", [{"details": ""}, {"end_time": None}, {"details": "", "end_time": None}]
)
def test_extras_of_a_session_whose_end_is_not_written_completely_are_requested_again(
    unwritten: dict[str, Any],
) -> None:
    ended = stopped(running(60))
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[ended.id] = ended._replace(**unwritten)

    before = harness.poll()
    harness.api.sessions[ended.id] = ended._replace(details="3 items processed")
    harness.api.statistics_of[ended.id] = THREE
    after = harness.poll()

    assert sum(before.activity.restored_items.values()) == 0
    assert sum(after.activity.restored_items.values()) == 3


@pytest.mark.parametrize(
    "early",
    [
        {},
        {(EventOperation.VIEW, EventStatus.SUCCESS): 9},
        {(EventOperation.RESTORE, EventStatus.SUCCESS): 2},
        {(EventOperation.RESTORE, EventStatus.RUNNING): 1},
        {
            (EventOperation.RESTORE, EventStatus.RUNNING): 1,
            (EventOperation.RESTORE, EventStatus.SUCCESS): 2,
        },
    ],
)
def test_events_that_contradict_the_session_are_requested_again_for_a_minute(
    early: dict[tuple[EventOperation, EventStatus], int],
) -> None:
    restored = EventSummary(
        counts={(EventOperation.RESTORE, EventStatus.SUCCESS): 3},
        size_bytes={EventOperation.RESTORE: 3000},
    )
    harness = harness_with(running(60), extras=["events"])
    harness.poll()
    harness.api.sessions[session_id(60)] = finished(60, details="3 items processed")
    harness.api.events_of[session_id(60)] = EventSummary(counts=early, size_bytes={})

    before = harness.poll()
    harness.api.events_of[session_id(60)] = restored
    after = harness.poll()

    assert sum(before.activity.event_bytes.values()) == 0
    assert series_of(after, 60).events == restored
    assert sum(after.activity.event_bytes.values()) == 3000


def test_polls_whose_lists_fail_use_up_no_attempt_of_a_finished_session() -> None:
    failing = server_error("statistics")
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = finished(60)
    harness.api.statistics_of[session_id(60)] = failing
    harness.poll()

    for _ in range(5):
        assert harness.poll(list_error=server_error()).status.up is False
        assert requested(harness) == []
    harness.api.statistics_of[session_id(60)] = THREE
    snapshot = harness.poll(list_error=None)

    assert sum(snapshot.activity.restored_items.values()) == 3


def test_no_more_extras_are_requested_after_a_server_wide_error() -> None:
    refused: Vb365Error = ConnectError("refused", operation="statistics")
    harness = harness_with(*[running(number) for number in range(1, 101)])
    harness.api.statistics_of = {session_id(number): refused for number in range(1, 101)}

    harness.poll()

    assert len(requested(harness)) < 100


def test_a_new_record_of_a_session_keeps_its_known_extras() -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()
    harness.api.statistics_of[session_id(60)] = server_error("statistics")
    harness.api.sessions[session_id(60)] = running(60, details="1 items processed")

    known = series_of(harness.poll(), 60)

    assert (known.details, known.statistics) == ("1 items processed", THREE)


def test_unknown_values_and_unreadable_records_of_events_are_counted() -> None:
    harness = harness_with(running(60), extras=["events"])
    harness.api.events_of[session_id(60)] = replace(
        SEEN,
        unknown_values=(UnknownValue(field="event_type", value="Teleport"),),
        unreadable=2,
    )

    with capture_logs() as logs:
        snapshot = harness.poll()

    assert [
        (entry["session_id"], entry.get("error")) for entry in logs if "session_id" in entry
    ] == [
        (session_id(60), None),
        (session_id(60), "2 records are not events, the others are counted"),
    ]
    assert harness.counts.unknown_fields == ["event_type"]
    assert harness.counts.failed_extras == [("events", Reason.BAD_RESPONSE)]
    assert series_of(snapshot, 60).events is not None


def test_sessions_that_started_or_finished_are_recorded_once_with_their_extras() -> None:
    harness = harness_with(running(60), finished(1))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()
    first = [(session.id, session.statistics) for session in harness.recorded]
    harness.recorded.clear()

    harness.poll()
    assert harness.recorded == []
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.poll()

    assert set(first) == {(session_id(60), THREE), (session_id(1), None)}
    assert [(session.id, session.state, session.statistics) for session in harness.recorded] == [
        (session_id(60), SessionState.STOPPED, THREE)
    ]


def test_a_finished_session_is_recorded_without_the_extras_of_the_time_when_it_ran() -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.poll()
    harness.recorded.clear()

    harness.api.statistics_of[session_id(60)] = server_error("statistics")
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.poll()

    assert harness.recorded == [stopped(running(60))]


def test_a_snapshot_is_published_before_extras_are_fetched_and_again_with_them() -> None:
    harness = harness_with(running(60))
    published_before: list[int] = []

    harness.api.statistics_of[session_id(60)] = THREE
    harness.api.on_extra = lambda *_: published_before.append(len(harness.published))
    snapshot = harness.poll()

    assert published_before == [1]
    assert len(harness.published) == 2
    assert [series_of(one, 60).statistics for one in (harness.published[0], snapshot)] == [
        None,
        THREE,
    ]


def test_an_unexpected_error_while_fetching_extras_does_not_fail_the_poll() -> None:
    harness = harness_with(running(60))

    def broken(session_id: str, _until: float) -> None:
        raise RuntimeError(session_id)

    harness.api.on_extra = broken
    with capture_logs() as logs:
        snapshot = harness.poll()

    assert snapshot.status.up
    assert logs[-1] == {
        "event": "extras aborted by unexpected error, next poll retries",
        "server": "hq",
        "exc_info": True,
        "log_level": "error",
    }
    assert [session.id for session in harness.recorded] == [session_id(60)]


# The time that extras have


def timed_out(operation: str) -> Vb365Error:
    return RequestTimeoutError("took too long", operation=operation)


def throttled(operation: str) -> Vb365Error:
    return ThrottledError("enough", operation=operation, status=429, retry_after_seconds=900.0)


@pytest.mark.parametrize("failure", [timed_out, throttled])
@pytest.mark.parametrize(("failing", "other"), [("statistics", "events"), ("events", "statistics")])
def test_a_time_out_or_throttling_of_one_extra_ends_only_this_kind(
    failure: Callable[[str], Vb365Error], failing: Extra, other: Extra
) -> None:
    numbers = range(1, 31)
    harness = harness_with(
        *map(running, numbers), extras=["statistics", "events"], max_concurrent_requests=1
    )
    setattr(
        harness.api, f"{failing}_of", {session_id(number): failure(failing) for number in numbers}
    )

    snapshot = harness.poll()

    assert snapshot.status.up
    calls = requested(harness)
    assert sum(call.startswith(failing) for call in calls) == 1
    assert sum(call.startswith(other) for call in calls) == 30
    assert harness.counts.failed_extras == [(failing, failure(failing).reason)]


@pytest.mark.parametrize("extra", ["statistics", "events"])
def test_extras_end_when_half_of_the_poll_interval_has_passed(extra: Extra) -> None:
    harness = harness_with(running(60), extras=[extra])
    ends: list[float] = []
    harness.api.on_extra = lambda _session_id, until: ends.append(until)

    harness.poll()

    assert ends == [harness.clock.monotonic() + 30.0]


def test_extras_have_half_of_the_poll_interval_however_long_the_sessions_took() -> None:
    harness = harness_with(running(60))
    ends: list[float] = []
    harness.api.on_extra = lambda _session_id, until: ends.append(until)

    def slow_list(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        harness.clock.seconds += 40.0
        return list_sessions(created_since=created_since, page_size=page_size)

    list_sessions = harness.api.list_sessions
    harness.poll(list_sessions=slow_list)

    assert ends == [harness.clock.monotonic() + 30.0]


def test_extras_end_before_the_next_poll_if_that_is_due_earlier() -> None:
    harness = harness_with(running(60))
    ends: list[float] = []
    harness.api.on_extra = lambda _session_id, until: ends.append(until)

    harness.loop.poll(next_poll_at=1020.0)
    harness.loop.poll(next_poll_at=1001.0)

    assert ends == [1019.0]


def test_extras_that_there_was_no_time_for_come_first_in_the_next_poll() -> None:
    harness = harness_with(*map(running, range(1, 6)), max_concurrent_requests=1)

    def takes_seconds(_session_id: str, _until: float) -> None:
        harness.clock.seconds += 15.0

    harness.api.on_extra = takes_seconds
    with capture_logs() as logs:
        polls = []
        for _ in range(3):
            harness.poll()
            polls.append([call.split()[1] for call in requested(harness)])

    assert polls == [
        [session_id(1), session_id(2)],
        [session_id(3), session_id(4)],
        [session_id(5), session_id(1)],
    ]
    assert [entry for entry in logs if "left" in entry] == [
        {
            "event": "session extras take too long, the rest follows after the next poll",
            "server": "hq",
            "left": 3,
            "log_level": "warning",
        }
    ]


@pytest.mark.parametrize("extra", ["statistics", "events"])
def test_requests_aborted_for_lack_of_time_use_up_no_attempt_and_come_first_in_the_next_poll(
    extra: Extra,
) -> None:
    sessions = [running(number) for number in range(1, 8)]
    harness = harness_with(*sessions, extras=[extra], max_concurrent_requests=1)
    harness.poll()
    harness.api.sessions |= {session.id: stopped(session) for session in sessions}
    harness.api.statistics_of = dict.fromkeys(harness.api.sessions, THREE)
    harness.api.events_of = dict.fromkeys(harness.api.sessions, SEEN)

    def takes_20_seconds(_session_id: str, until: float) -> None:
        harness.clock.seconds += 20.0
        if harness.clock.seconds > until:
            harness.clock.seconds = until
            raise RequestTimeoutError("took too long", operation=extra)

    harness.api.on_extra = takes_20_seconds
    fetched = []
    for _ in sessions:
        snapshot = harness.poll()
        known = [getattr(series_of(snapshot, number), extra) for number in range(1, 8)]
        fetched.append(sum(value in (THREE, SEEN) for value in known))

    assert fetched == [1, 2, 3, 4, 5, 6, 7]
    assert harness.counts.failed_extras == []


@pytest.mark.parametrize(
    ("begins_after", "times_out_after", "failures"),
    [
        (0.0, 30.0, [("statistics", Reason.TIMEOUT)]),
        (3.0, 30.0, [("statistics", Reason.TIMEOUT)]),
        (3.1, 30.0, []),
        (3.1, 29.0, [("statistics", Reason.TIMEOUT)]),  # not aborted: its own time was over
    ],
)
def test_a_request_that_had_all_of_the_time_and_timed_out_has_failed(
    begins_after: float, times_out_after: float, failures: list[tuple[str, Reason]]
) -> None:
    harness = harness_with(running(1), running(2), max_concurrent_requests=1)

    def answers_once(requested_id: str, until: float) -> None:
        if requested_id == session_id(1):
            harness.clock.seconds += begins_after
        else:
            harness.clock.seconds = until - 30.0 + times_out_after
            raise RequestTimeoutError("took too long", operation="statistics")

    harness.api.on_extra = answers_once
    harness.poll()

    assert harness.counts.failed_extras == failures


def test_requests_that_are_aborted_before_a_poll_use_up_no_attempt() -> None:
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    update = SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60))

    def takes_2_seconds(_session_id: str, until: float) -> None:
        harness.clock.seconds = min(harness.clock.seconds + 2.0, until)
        if harness.clock.seconds == until:
            raise RequestTimeoutError("took too long", operation="statistics")

    harness.api.on_extra = takes_2_seconds
    for _ in range(3):
        next_poll_at = harness.clock.seconds + 2.0
        harness.loop.apply(PendingChanges(changes=(update,)), next_poll_at=next_poll_at)
    assert len(requested(harness)) == 4

    assert series_of(harness.poll(), 60).statistics == THREE
    assert harness.counts.failed_extras == []


def test_a_request_that_a_stop_aborted_is_left_to_the_next_poller() -> None:
    harness = harness_with(running(1))

    def aborted_at_the_end(_session_id: str, until: float) -> None:
        harness.clock.seconds = until
        raise StoppedError("stopped", operation="statistics")

    harness.api.on_extra = aborted_at_the_end
    with capture_logs() as logs:
        harness.poll()

    assert [entry["left"] for entry in logs if "left" in entry] == [1]
    assert harness.counts.failed_extras == []


def test_the_last_extras_of_finished_sessions_come_before_those_of_running_ones() -> None:
    harness = harness_with(*map(running, range(1, 4)), max_concurrent_requests=1)
    harness.poll()
    harness.api.sessions[session_id(3)] = stopped(running(3))

    harness.poll()

    assert requested(harness) == [f"statistics {session_id(number)}" for number in (3, 1, 2)]


def test_many_events_are_read_on_in_the_next_poll() -> None:
    harness = harness_with(running(60), extras=["events"])
    harness.api.events_of[session_id(60)] = SEEN
    harness.api.event_pauses[session_id(60)] = 2

    known = [series_of(harness.poll(), 60).events for _ in range(3)]

    assert known == [None, None, SEEN]
    assert harness.counts.failed_extras == []


def test_events_read_while_a_session_was_running_are_not_read_on_after_its_end() -> None:
    harness = harness_with(running(60), extras=["events"])
    harness.api.event_pauses[session_id(60)] = 1
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.events_of[session_id(60)] = SEEN

    known = [series_of(harness.poll(), 60).events for _ in range(2)]

    assert known == [None, SEEN]


def test_events_that_were_not_read_on_for_long_are_read_from_the_start() -> None:
    harness = harness_with(running(60), extras=["events"])
    harness.api.events_of[session_id(60)] = SEEN
    harness.api.event_pauses[session_id(60)] = 1
    harness.poll()
    harness.poll(list_error=ConnectError("refused", operation="list"))
    harness.poll()
    harness.clock.seconds += 120

    known = [series_of(harness.poll(list_error=None), 60).events for _ in range(2)]

    assert known == [None, SEEN]


def test_of_sessions_with_many_events_eight_are_read_on_and_the_others_begin_after_them() -> None:
    numbers = range(1, 13)
    harness = harness_with(*map(running, numbers), extras=["events"], max_concurrent_requests=1)
    harness.api.event_pauses = {session_id(number): 2 for number in numbers}
    harness.api.events_of = dict.fromkeys(harness.api.sessions, SEEN)

    polls = []
    with capture_logs() as logs:
        for _ in range(4):
            harness.poll()
            polls.append([call.removeprefix("events ") for call in requested(harness)])

    assert [len(poll) for poll in polls] == [12, 8, 8, 12]
    assert polls[1] == polls[2] == polls[0][:8]
    assert polls[3][:4] == polls[0][8:]
    assert harness.counts.failed_extras == []
    assert [entry["left"] for entry in logs if "left" in entry] == [12]


def test_finished_sessions_whose_events_wait_for_others_use_up_no_attempt() -> None:
    numbers = range(1, 41)
    harness = harness_with(*map(running, numbers), extras=["events"])
    harness.poll()
    harness.api.sessions = {key: stopped(session) for key, session in harness.api.sessions.items()}
    harness.api.event_pauses = dict.fromkeys(harness.api.sessions, 4)
    harness.api.events_of = dict.fromkeys(harness.api.sessions, SEEN)

    for _ in range(30):
        snapshot = harness.poll()

    assert [series_of(snapshot, number).events for number in numbers] == [SEEN] * 40
    assert harness.counts.failed_extras == []


def test_finished_sessions_take_the_places_of_running_ones_with_many_events() -> None:
    harness = harness_with(*map(running, range(1, 14)), extras=["events"])
    harness.api.event_pauses = {session_id(number): 1000 for number in range(1, 13)}
    harness.poll()
    harness.api.sessions[session_id(13)] = stopped(harness.api.sessions[session_id(13)])
    harness.api.event_pauses[session_id(13)] = 2
    harness.api.events_of[session_id(13)] = SEEN

    known = [series_of(harness.poll(), 13).events for _ in range(4)]

    assert known[-1] == SEEN


def test_few_events_are_read_while_eight_sessions_with_many_are_read_on() -> None:
    numbers = range(1, 13)
    harness = harness_with(*map(running, numbers), extras=["events"])
    harness.api.event_pauses = {session_id(number): 1000 for number in range(1, 12)}
    harness.api.events_of[session_id(12)] = SEEN

    known = [series_of(harness.poll(), 12).events for _ in range(3)]

    assert known == [SEEN, SEEN, SEEN]
    assert f"events {session_id(12)}" in requested(harness)


def test_events_of_a_deleted_session_leave_their_place_to_others() -> None:
    numbers = range(1, 10)
    harness = harness_with(*map(running, numbers), extras=["events"], max_concurrent_requests=1)
    harness.api.event_pauses = dict.fromkeys(harness.api.sessions, 1000)
    harness.poll()
    first, *others = requested(harness)
    del harness.api.sessions[first.removeprefix("events ")]
    harness.poll()

    harness.poll()

    assert sorted(requested(harness)) == sorted(others)


def test_events_that_take_longer_than_one_poll_are_left_to_the_next() -> None:
    harness = harness_with(running(60), extras=["events"])
    harness.api.event_pauses[session_id(60)] = 1

    def takes_seconds(_session_id: str, _until: float) -> None:
        harness.clock.seconds += 31.0

    harness.api.on_extra = takes_seconds
    with capture_logs() as logs:
        harness.poll()

    assert [entry["left"] for entry in logs if "left" in entry] == [1]


def test_one_poll_requests_the_first_10000_extras() -> None:
    harness = harness_with(running(1))
    numbers = range(10_002)
    for number in numbers:
        session = finished(number)
        harness.ledger.observe([running(number)], harness.clock.now())
        harness.ledger.observe([session], harness.clock.now())

    harness.poller.publish(map(session_id, numbers), end_extras_at=inf)

    assert sorted(requested(harness)) == [f"statistics {session_id(n)}" for n in numbers[:10_000]]


def test_throttling_does_not_use_up_the_attempts_of_a_finished_session() -> None:
    harness = harness_with(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.api.statistics_of[session_id(60)] = throttled("statistics")
    for _ in range(5):
        harness.poll()

    harness.api.statistics_of[session_id(60)] = THREE

    assert series_of(harness.poll(), 60).statistics == THREE


# Which requests are due, and what becomes of their responses


class ExtrasHarness:
    """The extras of sessions in a store, without a poller."""

    def __init__(
        self,
        *sessions: RestoreSession,
        extras: Iterable[Extra] = ("statistics",),
        max_sessions: int = 200_000,
    ) -> None:
        settings = sessions_config(extras=extras, max_sessions=max_sessions)
        self.store = SessionStore(settings)
        self.totals = RestoredTotals(settings)
        self.extras = Extras(self.store, settings, self.totals)
        for session in sessions:
            self.store.put(session, at(0))

    def finish(self, number: int) -> None:
        session = self.extras.with_known_extras(finished(number))
        self.extras.follow(session, self.store.put(session, at(0)), at(0))

    def statistics(self, number: int) -> Statistics | None:
        session = self.store.find(session_id(number))
        assert session is not None
        return session.statistics


def at(seconds: float) -> Moment:
    return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds))


def statistics_of(number: int) -> ExtraRequest:
    return ExtraRequest(session_id=session_id(number), extra="statistics")


def test_requests_for_finished_sessions_come_before_those_for_running_ones_newest_first() -> None:
    harness = ExtrasHarness(running(3), running(2), running(1))
    harness.finish(3)

    assert harness.extras.due() == (statistics_of(3), statistics_of(1), statistics_of(2))


def test_a_session_that_is_reopened_is_due_like_one_that_was_never_requested() -> None:
    harness = ExtrasHarness(running(2), running(1))
    harness.finish(1)
    for number in (2, 1):
        harness.extras.mark_attempted(statistics_of(number))

    harness.extras.follow(running(1), harness.store.put(running(1), at(0)), at(0))

    assert harness.extras.due() == (statistics_of(1), statistics_of(2))


def test_a_session_that_returns_after_its_final_extras_is_due_like_one_never_requested() -> None:
    harness = ExtrasHarness(running(2), running(1))
    for number in (1, 2):
        harness.finish(number)
    for number in (2, 1):
        harness.extras.mark_attempted(statistics_of(number))
    harness.extras.accept(statistics_of(1), THREE, at(0))
    harness.store.remove(session_id(1), at(0))

    harness.finish(1)

    assert harness.extras.due() == (statistics_of(1), statistics_of(2))


def calls_in_a_poll(waiting: int) -> int:
    """How many functions a poll calls while the statistics of so many finished sessions wait for an API version."""
    harness = ExtrasHarness(*map(running, range(waiting)))
    for number in range(waiting):
        harness.finish(number)
    harness.extras.drop_stale(at(180), 180.0)
    with cProfile.Profile() as profile:
        assert harness.extras.due(has_statistics=False) == ()
        harness.extras.drop_stale(at(240), 180.0)
    return sum(entry.callcount for entry in profile.getstats())


def test_statistics_that_wait_for_an_api_version_cost_polls_nothing() -> None:
    assert calls_in_a_poll(waiting=100) == calls_in_a_poll(waiting=1)


def test_without_statistics_other_extras_are_due() -> None:
    harness = ExtrasHarness(running(1), running(2), extras=["statistics", "events"])
    harness.finish(2)

    assert harness.extras.due(has_statistics=False) == (events_of(2), events_of(1))
    ids = (session_id(1), session_id(2))
    assert harness.extras.due_for_finished(ids, has_statistics=False) == (events_of(2),)
    assert harness.extras.due_for_finished(ids) == (statistics_of(2), events_of(2))


def test_the_extras_of_the_last_10000_finished_sessions_are_awaited() -> None:
    numbers = range(10_001)
    harness = ExtrasHarness(max_sessions=5)
    for session in map(finished, numbers):
        harness.totals.expect(session)
        harness.extras.follow(session, Transition.FINISHED, at(0))

    assert [one.session_id for one in harness.extras.due()] == list(map(session_id, numbers[1:]))
    assert [one.session_id for one in harness.extras.take_abandoned()] == [session_id(0)]
    assert harness.extras.take_abandoned() == []


def test_between_polls_only_the_named_finished_sessions_are_due() -> None:
    harness = ExtrasHarness(running(1), running(2), running(3))
    harness.finish(2)
    harness.finish(3)

    assert harness.extras.due_for_finished([session_id(1), session_id(2)]) == (statistics_of(2),)


def events_of(number: int) -> ExtraRequest:
    return ExtraRequest(session_id=session_id(number), extra="events")


def paused(harness: ExtrasHarness, number: int) -> FakeEvents:
    """Return the events of a session, left to the next poll."""
    source = FakeEvents(FakeApi(), session_id(number))
    harness.extras.places.pause(events_of(number), source, at(0))
    return source


@pytest.fixture
def nine_with_many_events() -> ExtrasHarness:
    """Nine sessions with events left to read; the last has no place."""
    harness = ExtrasHarness(*map(running, range(1, 10)), extras=["events"])
    for number in range(1, 10):
        paused(harness, number)
    assert not harness.extras.places.may_begin(events_of(9), at(0))
    return harness


def test_events_that_cannot_be_read_leave_their_place_to_others(
    nine_with_many_events: ExtrasHarness,
) -> None:
    extras = nine_with_many_events.extras

    extras.record_failure(events_of(1), at(0))

    assert extras.places.may_begin(events_of(9), at(0))


def test_a_session_that_begins_after_others_takes_a_place_that_they_left(
    nine_with_many_events: ExtrasHarness,
) -> None:
    extras = nine_with_many_events.extras
    extras.accept(events_of(1), SEEN, at(0))
    extras.places.may_begin(events_of(9), at(0))

    source = paused(nine_with_many_events, 9)

    assert extras.places.take_paused(events_of(9)) is source


def test_a_running_session_that_lost_its_place_to_a_finished_one_waits_for_another(
    nine_with_many_events: ExtrasHarness,
) -> None:
    extras = nine_with_many_events.extras
    nine_with_many_events.finish(9)

    source = paused(nine_with_many_events, 9)

    assert extras.places.take_paused(events_of(9)) is source
    assert extras.places.take_paused(events_of(1)) is None
    assert not extras.places.may_begin(events_of(1), at(0))
    extras.accept(events_of(2), SEEN, at(0))
    assert extras.places.may_begin(events_of(1), at(0))


def test_a_session_whose_events_were_read_needs_no_place_until_they_are_many_again(
    nine_with_many_events: ExtrasHarness,
) -> None:
    extras = nine_with_many_events.extras
    extras.accept(events_of(1), SEEN, at(0))
    extras.places.may_begin(events_of(9), at(0))
    extras.accept(events_of(9), SEEN, at(0))

    paused(nine_with_many_events, 1)

    assert extras.places.may_begin(events_of(9), at(0))


def test_a_running_sessions_extras_are_unknown_when_they_are_exactly_stale() -> None:
    harness = ExtrasHarness(running(1))
    harness.extras.accept(statistics_of(1), THREE, at(10))

    harness.extras.drop_stale(at(189.9), 180.0)
    assert harness.statistics(1) == THREE
    harness.extras.drop_stale(at(190), 180.0)
    assert harness.statistics(1) is None


def test_each_response_confirms_the_extras_of_a_running_session() -> None:
    harness = ExtrasHarness(running(1))
    harness.extras.accept(statistics_of(1), THREE, at(10))
    harness.extras.accept(statistics_of(1), THREE, at(70))

    harness.extras.drop_stale(at(190), 180.0)

    assert harness.statistics(1) == THREE


def test_a_finished_sessions_extras_are_final() -> None:
    harness = ExtrasHarness(running(1))
    harness.extras.accept(statistics_of(1), Statistics(restored=1), at(10))
    harness.finish(1)
    harness.extras.accept(statistics_of(1), THREE, at(20))

    harness.extras.drop_stale(at(10_000), 180.0)

    assert harness.statistics(1) == THREE
    assert harness.extras.due() == ()


def test_extras_known_from_before_the_finish_last_as_long_as_there_are_attempts() -> None:
    harness = ExtrasHarness(running(1))
    harness.extras.accept(statistics_of(1), THREE, at(10))
    harness.finish(1)

    harness.extras.drop_stale(at(179.9), 180.0)
    assert harness.statistics(1) == THREE
    for _ in range(2):
        harness.extras.record_failure(statistics_of(1), at(60))
    assert (harness.statistics(1), len(harness.extras.due())) == (THREE, 1)
    harness.extras.record_failure(statistics_of(1), at(60))

    assert (harness.statistics(1), harness.extras.due()) == (None, ())


def test_a_failure_for_a_running_session_changes_nothing() -> None:
    harness = ExtrasHarness(running(1))
    harness.extras.accept(statistics_of(1), THREE, at(10))

    for _ in range(5):
        harness.extras.record_failure(statistics_of(1), at(60))

    assert harness.statistics(1) == THREE
    assert harness.extras.due() == (statistics_of(1),)


def test_a_discarded_session_is_not_requested_and_a_late_response_is_dropped() -> None:
    harness = ExtrasHarness(running(1), running(2))
    harness.finish(1)
    harness.finish(2)
    harness.store.remove(session_id(1), at(0))

    harness.extras.discard(session_id(1))
    assert harness.extras.due() == (statistics_of(2),)
    harness.extras.accept(statistics_of(1), THREE, at(0))

    assert harness.extras.due() == (statistics_of(2),)
    assert harness.store.find(session_id(1)) is None


def test_discarded_extras_of_a_session_that_comes_back_are_not_stale() -> None:
    harness = ExtrasHarness(running(1))
    harness.extras.accept(statistics_of(1), THREE, at(10))
    harness.extras.discard(session_id(1))

    harness.extras.drop_stale(at(10_000), 180.0)

    assert harness.statistics(1) == THREE


def test_a_reopened_session_starts_without_extras() -> None:
    harness = ExtrasHarness(finished(1))
    harness.extras.accept(statistics_of(1), THREE, at(10))

    assert harness.extras.with_known_extras(running(1)).statistics is None
    assert harness.extras.with_known_extras(finished(1)).statistics == THREE


def test_each_known_extra_is_kept_by_a_new_record() -> None:
    harness = ExtrasHarness(running(1), extras=["statistics", "events"])
    harness.extras.accept(ExtraRequest(session_id=session_id(1), extra="events"), SEEN, at(10))

    known = harness.extras.with_known_extras(running(1))

    assert (known.statistics, known.events) == (None, SEEN)


def test_a_session_that_is_reopened_is_polled_for_its_extras_again() -> None:
    harness = harness_with(running(60))
    harness.api.statistics_of[session_id(60)] = THREE
    harness.api.sessions[session_id(60)] = stopped(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = running(60)

    harness.apply_changes(SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60)))
    snapshot = harness.poll()

    assert requested(harness) == [f"statistics {session_id(60)}"]
    assert series_of(snapshot, 60).statistics == THREE
