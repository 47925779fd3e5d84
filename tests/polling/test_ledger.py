from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest

from exporter.polling.plan import RESYNC_SECONDS, ListRequest
from exporter.polling.resync import ListLoss
from exporter.polling.snapshot import Snapshot
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import (
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
)
from support.ledger_harness import DAY_SECONDS, LedgerHarness, sessions_config, shown_ids
from support.sample_sessions import NOON, finished, running, session_id

CONTOSO = "contoso.onmicrosoft.com"
VEX_FAILED = (CONTOSO, SessionType.VEX, SessionResult.FAILED)
VEX_SUCCESS = (CONTOSO, SessionType.VEX, SessionResult.SUCCESS)


def stopped(session: RestoreSession) -> RestoreSession:
    return session._replace(
        state=SessionState.STOPPED,
        result=SessionResult.SUCCESS,
        end_time=session.creation_time + timedelta(seconds=30),
    )


# What is requested


def test_the_first_poll_requests_the_full_list() -> None:
    harness = LedgerHarness()

    assert harness.ledger.due_lists(harness.now) == (ListRequest(created_since=None),)


def test_later_polls_list_what_was_created_since_the_newest_minus_ten_minutes() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1), finished(90))
    harness.poll()

    (request,) = harness.ledger.due_lists(harness.now)

    assert request.created_since == finished(1).creation_time - timedelta(minutes=10)


def test_a_session_from_the_future_does_not_end_discovery() -> None:
    harness = LedgerHarness()
    harness.hold(running(1, creation_time=NOON + timedelta(days=365)), finished(2))
    harness.poll()
    harness.hold(running(3, creation_time=NOON))

    assert session_id(3) in shown_ids(harness.poll())


def test_a_session_from_the_future_in_the_first_list_does_not_end_counting() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1, creation_time=NOON + timedelta(days=30)), finished(2))
    harness.poll()
    harness.hold(finished(3, creation_time=NOON, end_time=NOON))

    started = harness.poll().activity.started

    assert sum(started.values()) == 1


def test_the_full_list_is_requested_once_an_hour() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1))
    harness.poll()

    harness.seconds += RESYNC_SECONDS

    assert ListRequest(created_since=None) in harness.ledger.due_lists(harness.now)


def test_a_running_session_is_followed_by_id_however_old_it_is() -> None:
    harness = LedgerHarness()
    old = running(1, creation_time=NOON - timedelta(days=30))
    harness.hold(old, finished(2))
    harness.poll()

    harness.poll()

    assert harness.fetched == [old.id]


def test_an_unknown_state_is_followed_like_a_running_one() -> None:
    harness = LedgerHarness()
    harness.hold(running(60, state=SessionState.UNKNOWN), finished(2))
    harness.poll()

    harness.poll()

    assert harness.fetched == [session_id(60)]


def test_a_finished_session_is_not_fetched_again() -> None:
    harness = LedgerHarness(sessions_config([session_id(60)]))
    harness.hold(finished(60), finished(2))
    harness.poll()

    harness.poll()

    assert harness.fetched == []


def test_the_cost_of_a_poll_does_not_grow_with_history() -> None:
    harness = LedgerHarness()
    harness.hold(*(finished(number) for number in range(60, 2060)), running(59), finished(1))
    harness.poll()

    harness.poll()

    assert [session.id for session in harness.pages] == [session_id(1)]
    assert harness.fetched == [session_id(59)]


def test_without_discovery_only_configured_ids_are_fetched() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)], discover=False))
    harness.hold(finished(1), running(2), finished(3))

    assert shown_ids(harness.poll()) == [session_id(2), session_id(1)]
    harness.poll()
    assert harness.fetched == [session_id(2)]


def test_a_missing_configured_id_is_fetched_at_every_poll() -> None:
    harness = LedgerHarness(sessions_config([session_id(7)]))
    harness.poll()
    harness.poll()

    assert harness.fetched == [session_id(7)]
    assert [found.found for found in harness.snapshot().configured_ids] == [False]
    harness.hold(finished(7))
    assert [found.found for found in harness.poll().configured_ids] == [True]


def test_configured_ids_that_have_finished_are_checked_once_an_hour() -> None:
    harness = LedgerHarness(sessions_config([session_id(1)], discover=False))
    harness.hold(finished(1))
    harness.poll()
    harness.poll()
    assert harness.fetched == []

    harness.server.clear()
    snapshot = harness.poll(RESYNC_SECONDS)

    assert harness.fetched == [session_id(1)]
    assert shown_ids(snapshot) == []
    harness.poll()
    assert harness.fetched == [session_id(1)]


def test_many_ids_are_fetched_with_a_list_and_few_are_not() -> None:
    many = [session_id(number) for number in range(1, 1001)]
    harness = LedgerHarness(sessions_config(many, discover=False))

    assert harness.ledger.cheaper_list(many) == ListRequest(created_since=None, max_pages=40)
    assert harness.ledger.cheaper_list(many[:20]) is None


def test_ids_that_were_never_seen_are_listed_from_fifty_on() -> None:
    ids = [session_id(number) for number in range(1, 51)]
    harness = LedgerHarness(sessions_config(ids, discover=False))

    assert harness.ledger.cheaper_list(ids[:49]) is None
    assert harness.ledger.cheaper_list(ids) == ListRequest(created_since=None, max_pages=2)


def test_many_running_sessions_are_fetched_with_a_list_back_to_where_it_pays() -> None:
    harness = LedgerHarness()
    ancient = running(5000, creation_time=NOON - timedelta(days=30))
    crowd = [running(number) for number in range(1, 101)]
    harness.hold(ancient, *crowd, *(finished(number) for number in range(200, 4000)))
    harness.poll()
    harness.ledger.begin_poll(harness.now)

    request = harness.ledger.cheaper_list([ancient.id, *(session.id for session in crowd)])

    assert request is not None
    assert request.created_since == crowd[-1].creation_time - timedelta(seconds=1)


# What is counted


def test_what_was_there_at_the_first_poll_is_not_an_event() -> None:
    harness = LedgerHarness()
    harness.hold(running(1), finished(2))

    activity = harness.poll().activity

    assert dict(activity.started) == {}
    assert dict(activity.finished) == {}


def test_a_session_that_starts_and_fails_between_two_polls_counts_as_both() -> None:
    harness = LedgerHarness()
    harness.hold(finished(5))
    harness.poll()

    harness.hold(finished(1, result=SessionResult.FAILED))
    activity = harness.poll().activity

    assert dict(activity.started) == {(CONTOSO, SessionType.VEX): 1}
    assert dict(activity.finished) == {VEX_FAILED: 1}
    assert [histogram.sum_seconds for histogram in activity.durations.values()] == [30.0]


def test_a_session_that_was_running_at_the_first_poll_counts_when_it_finishes() -> None:
    harness = LedgerHarness()
    harness.hold(running(5))
    harness.poll()

    harness.hold(stopped(running(5)))
    harness.poll()
    activity = harness.poll().activity

    assert dict(activity.started) == {}
    assert dict(activity.finished) == {VEX_SUCCESS: 1}


def test_after_the_servers_clock_was_set_back_what_ran_since_the_last_list_is_counted() -> None:
    harness = LedgerHarness()
    harness.server_ahead_seconds = 7200.0
    harness.hold(stopped(running(1, creation_time=NOON + timedelta(hours=2))))
    harness.poll()
    harness.server_ahead_seconds = 0.0
    harness.clock_is_confirmed = True
    for number in (2, 3):
        created = harness.now.wall + timedelta(seconds=10)
        harness.hold(stopped(running(number, creation_time=created)))
        activity = harness.poll().activity

    assert dict(activity.started) == {(CONTOSO, SessionType.VEX): 2}
    assert dict(activity.finished) == {VEX_SUCCESS: 2}


def test_a_session_without_an_end_that_stopped_before_the_clock_was_set_back_expires() -> None:
    harness = LedgerHarness(sessions_config(lookback=DAY_SECONDS))
    harness.server_ahead_seconds = 30 * DAY_SECONDS
    harness.hold(running(1))
    harness.poll()
    harness.hold(finished(1, end_time=None))
    harness.poll()
    harness.server_ahead_seconds = 0.0
    harness.poll()
    harness.poll(DAY_SECONDS)

    assert shown_ids(harness.poll()) == []


def test_a_deleted_session_that_is_restored_is_new() -> None:
    harness = LedgerHarness()
    harness.hold(running(60), finished(5))
    harness.poll()
    harness.hold(running(5))
    harness.poll()
    del harness.server[session_id(5)]
    harness.poll()

    # Restored with the server's database, it is one that was never seen before.
    harness.hold(running(5))
    harness.poll()
    harness.hold(finished(5))

    assert dict(harness.poll().activity.finished) == {VEX_SUCCESS: 1}


def test_an_old_session_that_comes_into_sight_later_is_not_an_event() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1))
    harness.poll()

    harness.hold(finished(500, result=SessionResult.FAILED))
    snapshot = harness.poll(RESYNC_SECONDS)

    assert dict(snapshot.activity.finished) == {}
    assert session_id(500) in shown_ids(snapshot)


def test_a_session_that_expired_and_is_listed_again_is_not_an_event() -> None:
    harness = LedgerHarness(sessions_config(lookback=3600))
    harness.hold(finished(100))
    harness.poll()
    harness.hold(finished(1))
    harness.poll()

    snapshot = harness.poll(4000)
    again = harness.poll(RESYNC_SECONDS)

    assert shown_ids(snapshot) == shown_ids(again) == []
    assert dict(again.activity.finished) == {VEX_SUCCESS: 1}


def test_a_duration_that_is_known_after_the_finish_is_counted_once() -> None:
    harness = LedgerHarness()
    harness.hold(running(1), finished(9, end_time=None))
    harness.poll()
    ended = finished(1)
    harness.hold(ended._replace(end_time=None))
    assert not harness.poll().activity.durations

    harness.hold(ended, finished(9))
    harness.poll(RESYNC_SECONDS)
    harness.hold(ended._replace(end_time=NOON), finished(9, end_time=NOON))
    activity = harness.poll(RESYNC_SECONDS).activity

    assert sum(activity.finished.values()) == 1
    assert activity.durations[SessionType.VEX].sum_seconds == ended.duration_seconds
    assert sum(activity.durations[SessionType.VEX].counts) == 1


def test_a_session_that_ran_in_an_outage_longer_than_lookback_counts_once_and_is_not_shown() -> (
    None
):
    harness = LedgerHarness(sessions_config(lookback=3600))
    harness.hold(finished(100))
    harness.poll()
    harness.hold(finished(1, creation_time=NOON, end_time=NOON + timedelta(minutes=1)))

    snapshot = harness.poll(2 * 3600)
    again = harness.poll(RESYNC_SECONDS)

    assert shown_ids(snapshot) == shown_ids(again) == []
    assert dict(snapshot.activity.finished) == {VEX_SUCCESS: 1}
    assert snapshot.activity.started == again.activity.started
    assert snapshot.activity.finished == again.activity.finished
    assert sum(again.activity.started.values()) == 1
    assert (snapshot.sessions_not_kept, again.sessions_not_kept) == (0, 0)


def test_a_session_that_finished_in_an_outage_longer_than_lookback_is_not_left_out() -> None:
    harness = LedgerHarness(sessions_config(lookback=3600))
    harness.hold(running(60), finished(1))
    harness.poll()
    harness.hold(finished(60))

    snapshot = harness.poll(2 * 3600)

    assert dict(snapshot.activity.finished) == {VEX_SUCCESS: 1}
    assert snapshot.sessions_not_kept == 0


def test_a_session_without_end_expires_after_it_was_first_seen_stopped_and_stays_away() -> None:
    harness = LedgerHarness(sessions_config(lookback=7200))
    harness.hold(finished(1, end_time=None))
    harness.poll()

    assert shown_ids(harness.poll(3600)) == [session_id(1)]
    assert shown_ids(harness.poll(3601)) == []
    assert shown_ids(harness.poll(RESYNC_SECONDS)) == []


def test_a_session_that_ends_at_the_end_of_time_stays_however_long_lookback_is() -> None:
    harness = LedgerHarness(sessions_config(lookback=3650 * DAY_SECONDS))
    harness.hold(finished(1, end_time=datetime(9998, 12, 31, tzinfo=UTC)))

    assert shown_ids(harness.poll()) == [session_id(1)]
    assert shown_ids(harness.poll()) == [session_id(1)]


def test_a_session_evicted_by_max_sessions_and_listed_again_is_not_an_event() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=2))
    harness.hold(finished(100))
    harness.poll()
    harness.hold(finished(3), finished(2), finished(1))
    harness.poll()

    snapshot = harness.poll(RESYNC_SECONDS)

    assert snapshot.activity.finished[VEX_SUCCESS] == 3
    assert shown_ids(snapshot) == [session_id(1), session_id(2)]
    assert snapshot.sessions_not_kept == 2


def test_organizations_are_known_even_when_their_sessions_are_out_of_lookback() -> None:
    harness = LedgerHarness()
    harness.hold(
        finished(1, creation_time=NOON - timedelta(days=60), end_time=NOON - timedelta(days=60))
    )

    snapshot = harness.poll()

    assert snapshot.activity.organizations == (CONTOSO,)
    assert shown_ids(snapshot) == []


def test_finished_sessions_are_counted_by_organization_with_the_newest_end() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1), finished(5), finished(3, result=SessionResult.FAILED))

    snapshot = harness.poll()

    assert dict(snapshot.stopped) == {VEX_SUCCESS: 2, VEX_FAILED: 1}
    assert snapshot.last_end[VEX_SUCCESS] == finished(1).end_time


# What is counted once, whatever disappears and returns


def totals(snapshot: Snapshot) -> tuple[int, int, int]:
    """Return how many sessions were counted as started, as finished, and in the histogram."""
    activity = snapshot.activity
    durations = sum(sum(histogram.counts) for histogram in activity.durations.values())
    return sum(activity.started.values()), sum(activity.finished.values()), durations


def harness_with_events(**settings: Any) -> LedgerHarness:
    """A ledger that has seen two sessions start, and another one start and fail."""
    harness = LedgerHarness(sessions_config(**settings))
    harness.hold(finished(100), finished(101), finished(102), finished(103))
    harness.poll()
    harness.hold(running(2), running(3), finished(1, result=SessionResult.FAILED))
    assert totals(harness.poll()) == (3, 1, 1)
    return harness


def test_a_session_that_expired_and_runs_and_finishes_again_is_counted_once() -> None:
    harness = harness_with_events(lookback=3600)
    before = harness.poll(2 * 3600)
    assert session_id(1) not in shown_ids(before)

    harness.hold(running(1))
    reopened = harness.poll(RESYNC_SECONDS)
    harness.hold(finished(1))

    assert session_id(1) in shown_ids(reopened)
    assert totals(harness.poll()) == (3, 1, 1)


def test_a_session_that_was_deleted_while_it_ran_and_returns_finished_is_counted_once() -> None:
    harness = harness_with_events()
    for session in (running(2), running(3)):
        del harness.server[session.id]
        assert session.id not in shown_ids(harness.poll())
    harness.hold(stopped(running(2)), stopped(running(3)))

    assert totals(harness.poll(RESYNC_SECONDS)) == (3, 3, 3)


def test_two_running_sessions_that_answer_404_while_the_list_shows_them_stay() -> None:
    harness = harness_with_events()
    harness.hold(running(0, creation_time=NOON + timedelta(minutes=30)))
    before = harness.poll(RESYNC_SECONDS / 2)
    harness.hidden_by_id = {session_id(2), session_id(3)}

    for _ in range(3):
        blip = harness.poll()
        assert set(harness.disbelieved) == harness.hidden_by_id
        assert shown_ids(blip) == shown_ids(before)
    harness.hidden_by_id = set()

    assert totals(harness.poll(RESYNC_SECONDS)) == totals(before) == (4, 1, 1)


def test_an_empty_list_with_404s_deletes_nothing_and_counts_nothing_twice() -> None:
    harness = harness_with_events()
    before = shown_ids(harness.snapshot())
    server, harness.server = harness.server, {}

    assert shown_ids(harness.poll()) == before

    harness.server = server
    assert shown_ids(harness.poll()) == before
    assert totals(harness.poll(RESYNC_SECONDS)) == (3, 1, 1)


def test_an_empty_full_list_between_two_right_ones_changes_nothing() -> None:
    harness = harness_with_events()
    before = shown_ids(harness.snapshot())
    server, harness.server = harness.server, {}
    assert shown_ids(harness.poll(RESYNC_SECONDS)) == before

    harness.server = server

    assert shown_ids(harness.poll()) == before
    assert totals(harness.poll()) == (3, 1, 1)


def test_sessions_that_two_full_lists_do_not_show_are_gone_and_not_counted_when_they_return() -> (
    None
):
    harness = harness_with_events()
    before = shown_ids(harness.snapshot())
    server, harness.server = harness.server, {}
    harness.poll(RESYNC_SECONDS)
    assert shown_ids(harness.poll()) == []

    harness.server = server

    assert shown_ids(harness.poll(RESYNC_SECONDS)) == before
    harness.hold(stopped(running(2)), stopped(running(3)))
    assert totals(harness.poll()) == (3, 3, 3)
    assert totals(harness.poll(RESYNC_SECONDS)) == (3, 3, 3)


# What ends


def test_a_running_session_that_the_server_denies_ends_at_once() -> None:
    harness = LedgerHarness()
    harness.hold(running(60), finished(1))
    harness.poll()

    del harness.server[session_id(60)]

    assert shown_ids(harness.poll()) == [session_id(1)]


def test_a_deleted_finished_session_ends_with_the_next_full_list() -> None:
    harness = LedgerHarness()
    harness.hold(finished(60), finished(1))
    harness.poll()
    del harness.server[session_id(60)]

    assert session_id(60) in shown_ids(harness.poll())
    snapshot = harness.poll(RESYNC_SECONDS)

    assert harness.fetched == [session_id(60)]
    assert shown_ids(snapshot) == [session_id(1)]
    assert dict(snapshot.stopped) == {VEX_SUCCESS: 1}


def test_a_cleared_history_is_believed_without_fetching_each_session() -> None:
    harness = LedgerHarness()
    harness.hold(*(finished(number) for number in range(60, 360)), finished(1))
    harness.poll()
    harness.server = {session_id(1): finished(1)}

    assert len(shown_ids(harness.poll(RESYNC_SECONDS))) == 301
    assert harness.losses[-1] == ListLoss(stored=301, lost=300, believed=False)
    assert shown_ids(harness.poll()) == [session_id(1)]
    assert harness.losses[-1] == ListLoss(stored=301, lost=300, believed=True)
    assert harness.fetched == []


def test_a_discovered_session_expires_lookback_after_its_end() -> None:
    harness = LedgerHarness(sessions_config([session_id(2)], lookback=DAY_SECONDS))
    harness.hold(finished(1), finished(2))

    assert set(shown_ids(harness.poll())) == {session_id(1), session_id(2)}
    assert shown_ids(harness.poll(DAY_SECONDS)) == [session_id(2)]


# What gets series


def test_a_session_that_ends_at_the_end_of_time_stays() -> None:
    harness = LedgerHarness(sessions_config(lookback=3650 * DAY_SECONDS))
    harness.hold(finished(1, end_time=datetime(9998, 12, 31, tzinfo=UTC)))

    harness.poll()

    assert shown_ids(harness.poll()) == [session_id(1)]


def test_max_series_prefers_running_then_newest_and_never_leaves_out_configured_ids() -> None:
    harness = LedgerHarness(sessions_config([session_id(50)], max_series=3))
    harness.hold(running(40), *(finished(number) for number in (1, 2, 3, 50)))

    snapshot = harness.poll()

    assert shown_ids(snapshot) == [session_id(n) for n in (40, 50, 1, 2)]
    assert snapshot.sessions_without_series == 1
    assert snapshot.sessions_known == 5
    assert sum(snapshot.stopped.values()) == 4


def test_more_running_sessions_than_max_series_are_counted_but_not_shown() -> None:
    harness = LedgerHarness(sessions_config(max_series=2))
    harness.hold(running(1), running(2), running(3), finished(4))

    snapshot = harness.poll()

    assert shown_ids(snapshot) == [session_id(1), session_id(2)]
    assert len(snapshot.running) == 3
    assert snapshot.sessions_without_series == 2


# How long it stands


def test_a_running_session_ends_when_its_own_answers_stop_and_the_others_stay() -> None:
    harness = LedgerHarness(stale_after_seconds=180)
    harness.hold(running(60), running(61), finished(1))
    harness.poll()
    for _ in range(3):
        harness.seconds += 60
        ledger = harness.ledger
        ledger.begin_poll(harness.now)
        request, *_ = ledger.due_lists(harness.now)
        ledger.begin_list(request)
        ledger.end_list(request, harness.now)
        ledger.observe([running(61)], harness.now)
        ledger.end_poll(harness.now, succeeded=False)

    snapshot = harness.snapshot().without_stale(harness.seconds)

    assert shown_ids(snapshot) == [session_id(61), session_id(1)]
    assert snapshot.listed


def test_nothing_outlives_stale_after_but_counters_and_the_server() -> None:
    harness = LedgerHarness(sessions_config([session_id(9)]), stale_after_seconds=180)
    harness.hold(running(60), finished(1))
    snapshot = harness.poll()
    at = harness.seconds

    assert snapshot is snapshot.without_stale(at + 179.9)
    stale = snapshot.without_stale(at + 180)

    assert shown_ids(stale) == []
    assert not stale.listed
    assert dict(stale.stopped) == {}
    assert stale.configured_ids == ()
    assert snapshot.activity == stale.activity
    assert (snapshot.status.up, stale.status.up) == (True, False)


def test_an_aborted_first_list_shows_sessions_but_no_counts() -> None:
    harness = LedgerHarness()
    harness.ledger.begin_poll(harness.now)
    (full_list,) = harness.ledger.due_lists(harness.now)
    harness.ledger.begin_list(full_list)
    harness.ledger.observe([finished(1)], harness.now)
    harness.ledger.end_poll(harness.now, succeeded=False)

    snapshot = harness.snapshot()

    assert shown_ids(snapshot) == [session_id(1)]
    assert not snapshot.listed
    assert (dict(snapshot.stopped), dict(snapshot.last_end)) == ({}, {})
    assert harness.ledger.due_lists(harness.now) == (full_list,)


def test_what_an_aborted_first_list_showed_ends_when_it_is_not_listed_again() -> None:
    harness = LedgerHarness(stale_after_seconds=180)
    harness.ledger.begin_poll(harness.now)
    harness.ledger.observe([finished(1)], harness.now)
    harness.ledger.end_poll(harness.now, succeeded=False)
    for _ in range(3):
        harness.seconds += 60
        harness.ledger.begin_poll(harness.now)
        harness.ledger.end_poll(harness.now, succeeded=False)

    assert shown_ids(harness.snapshot().without_stale(harness.seconds)) == []


def test_lookback_counts_from_when_a_session_was_last_seen_to_stop() -> None:
    harness = LedgerHarness(sessions_config(lookback=7 * DAY_SECONDS))
    stopped = finished(1, end_time=None)
    harness.hold(stopped)
    harness.poll()
    harness.hold(running(1))
    harness.poll(5 * DAY_SECONDS)
    harness.hold(stopped)
    harness.poll(DAY_SECONDS)

    assert shown_ids(harness.poll(2 * DAY_SECONDS)) == [session_id(1)]
    assert shown_ids(harness.poll(5 * DAY_SECONDS)) == []


def test_a_session_that_ended_before_it_began_expires_by_when_it_began() -> None:
    harness = LedgerHarness(sessions_config(lookback=7 * DAY_SECONDS))
    harness.hold(finished(1, end_time=NOON - timedelta(days=30)))

    assert shown_ids(harness.poll()) == [session_id(1)]
    assert shown_ids(harness.poll(6 * DAY_SECONDS)) == [session_id(1)]
    assert shown_ids(harness.poll(DAY_SECONDS)) == []


# The bounds


def created_since(harness: LedgerHarness) -> object:
    return harness.ledger.due_lists(harness.now)[0].created_since


def test_an_older_session_does_not_set_back_where_the_next_list_begins() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1))
    harness.poll()
    harness.hold(finished(5))
    harness.poll()

    assert created_since(harness) == finished(1).creation_time - timedelta(minutes=10)


def test_a_later_poll_lists_recent_sessions_first_and_everything_when_an_hour_has_passed() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1))
    harness.poll()

    harness.seconds += RESYNC_SECONDS - 1
    assert len(harness.ledger.due_lists(harness.now)) == 1
    harness.seconds += 1
    assert [one.is_full for one in harness.ledger.due_lists(harness.now)] == [False, True]


def test_without_any_session_every_poll_requests_the_full_list() -> None:
    harness = LedgerHarness()
    harness.poll()

    assert harness.ledger.due_lists(harness.now) == (ListRequest(created_since=None),)


def test_running_sessions_are_fetched_before_configured_ones_and_none_twice() -> None:
    harness = LedgerHarness(sessions_config([session_id(7), session_id(8)]))
    harness.hold(running(60), running(7), finished(1))
    harness.poll()
    harness.ledger.resync.request_by_id(harness.ledger.ids_to_fetch([updated(60), updated(5)]))

    harness.seconds += 60
    harness.ledger.begin_poll(harness.now)

    assert harness.ledger.unconfirmed() == tuple(session_id(n) for n in (7, 60, 8, 5))


def test_what_was_confirmed_when_the_poll_started_is_not_fetched() -> None:
    harness = LedgerHarness(sessions_config([session_id(7)]))
    harness.hold(running(60))
    harness.poll()

    harness.ledger.begin_poll(harness.now)

    assert harness.ledger.unconfirmed() == ()


def test_configured_ids_that_were_deleted_do_not_call_for_a_list() -> None:
    many = [session_id(number) for number in range(1, 101)]
    harness = LedgerHarness(sessions_config(many, discover=False))
    harness.poll()

    assert harness.ledger.cheaper_list(many) is None


def test_sessions_that_are_not_followed_are_not_taken_from_a_list() -> None:
    harness = LedgerHarness(sessions_config([session_id(1)], discover=False))

    harness.ledger.observe([finished(2)], harness.now)

    snapshot = harness.snapshot()
    assert (snapshot.sessions_known, snapshot.activity.organizations) == (0, ())


def test_a_configured_id_is_confirmed_by_its_own_response_or_the_last_list() -> None:
    harness = LedgerHarness(sessions_config([session_id(n) for n in (1, 2, 3, 4)]))
    harness.hold(running(1), finished(2))
    harness.poll(60)
    harness.ledger.mark_not_found(session_id(4), harness.now)
    harness.seconds = 90.0
    harness.ledger.observe([running(1)], harness.now)

    assert [
        (one.session_id, one.found, one.confirmed_at) for one in harness.snapshot().configured_ids
    ] == [
        (session_id(1), True, 90.0),
        (session_id(2), True, 60.0),
        (session_id(3), False, 60.0),
        (session_id(4), False, 60.0),
    ]


def test_a_configured_id_without_any_response_yet_is_in_no_snapshot() -> None:
    assert LedgerHarness(sessions_config([session_id(1)])).snapshot().configured_ids == ()


def test_configured_ids_after_one_without_a_response_are_in_the_snapshot() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)]))

    harness.ledger.observe([running(2)], harness.now)

    assert [one.session_id for one in harness.snapshot().configured_ids] == [session_id(2)]


def test_where_all_sessions_have_series_none_is_without() -> None:
    harness = LedgerHarness()
    harness.hold(running(1), finished(2))

    assert harness.poll().sessions_without_series == 0


def test_configured_sessions_take_no_room_from_discovered_ones() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)], max_series=2))
    harness.hold(running(1), finished(2), running(3), finished(4), finished(5))

    snapshot = harness.poll()

    assert shown_ids(snapshot) == [session_id(n) for n in (1, 3, 2, 4)]
    assert snapshot.sessions_without_series == 1


# What a poll proves


def test_a_poll_that_observed_nothing_confirms_nothing_before_the_first_list() -> None:
    harness = LedgerHarness()
    harness.seconds = 60.0
    harness.ledger.begin_poll(harness.now)
    harness.ledger.observe([finished(1)], harness.now)
    harness.ledger.end_poll(harness.now, succeeded=False)
    harness.seconds = 120.0
    harness.ledger.begin_poll(harness.now)
    harness.ledger.end_poll(harness.now, succeeded=False)

    assert harness.snapshot().finished_confirmed_at == 60.0


def test_a_list_that_stops_early_confirms_no_finished_session() -> None:
    harness = LedgerHarness()
    harness.hold(finished(1))
    harness.poll(60)
    harness.seconds = 120.0
    request = ListRequest(created_since=None, max_pages=1)

    harness.ledger.begin_list(request)
    harness.ledger.end_list(request, harness.now)

    snapshot = harness.snapshot()
    assert (snapshot.finished_confirmed_at, snapshot.list_confirmed_at) == (60.0, 60.0)


def test_without_finished_sessions_there_is_nothing_to_become_stale_but_the_list() -> None:
    harness = LedgerHarness()

    snapshot = harness.poll(60)

    assert (snapshot.finished_confirmed_at, snapshot.list_confirmed_at) == (-inf, 60.0)


def test_without_discovery_the_first_successful_poll_is_the_baseline() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)], discover=False))
    harness.hold(finished(2))
    harness.poll(60)
    harness.poll(60)
    assert harness.snapshot().list_confirmed_at == 120.0

    harness.hold(running(1))

    assert dict(harness.poll().activity.started) == {(CONTOSO, SessionType.VEX): 1}


def test_without_discovery_a_configured_session_older_than_the_baseline_is_not_an_event() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)], discover=False))
    harness.hold(finished(1))
    harness.poll()

    harness.hold(finished(2))

    assert dict(harness.poll().activity.finished) == {}


@pytest.mark.parametrize("listed", [[], [finished(1000)]])
@pytest.mark.parametrize("discover", [True, False])
def test_what_was_there_before_the_first_list_is_not_counted_if_it_comes_into_sight_later(
    listed: list[RestoreSession],
    discover: bool,  # noqa: FBT001 - a parameter
) -> None:
    harness = LedgerHarness(sessions_config(map(session_id, (2, 11, 30, 1000)), discover=discover))
    harness.clock_is_confirmed = True
    harness.hold(*listed)
    harness.poll()
    later = harness.now.wall - timedelta(minutes=5)  # by a clock that is behind

    harness.hold(finished(11), finished(2, creation_time=later, end_time=later), running(30))
    activity = harness.poll().activity

    assert dict(activity.finished) == {VEX_SUCCESS: 1}
    assert sum(activity.started.values()) == 1


def test_the_first_list_of_an_empty_server_is_the_baseline() -> None:
    harness = LedgerHarness()
    harness.poll()
    later = NOON + timedelta(seconds=90)

    harness.hold(finished(11), finished(2, creation_time=later, end_time=later), running(12))
    activity = harness.poll().activity

    assert dict(activity.finished) == {VEX_SUCCESS: 1}
    assert sum(activity.started.values()) == 1


@pytest.mark.parametrize("discover", [True, False])
def test_a_history_that_the_first_list_does_not_show_is_not_an_event(discover: bool) -> None:  # noqa: FBT001 - a table
    harness = LedgerHarness(sessions_config([session_id(12)], discover=discover))
    harness.poll()

    harness.hold(finished(12), finished(1000))
    harness.poll(0)
    harness.hold(running(0, creation_time=NOON + timedelta(minutes=2)))
    activity = harness.poll().activity

    assert dict(activity.finished) == {}
    assert sum(activity.started.values()) == discover


def test_a_first_list_of_which_a_record_is_unreadable_is_the_baseline() -> None:
    harness = LedgerHarness()
    (full_list,) = harness.ledger.due_lists(harness.now)
    harness.ledger.begin_poll(harness.now)
    harness.ledger.begin_list(full_list)
    harness.ledger.observe([finished(2)], harness.now)
    harness.ledger.resync.add_unreadable("")
    harness.ledger.end_list(full_list, harness.now)

    harness.ledger.observe([finished(1)], harness.now)

    assert dict(harness.snapshot().activity.finished) == {VEX_SUCCESS: 1}


def test_without_discovery_the_first_successful_poll_shows_the_gauges_of_organizations() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)], discover=False))
    harness.hold(finished(1))

    snapshot = harness.poll(60)

    assert snapshot.list_confirmed_at == 60.0
    assert dict(snapshot.stopped) == {VEX_SUCCESS: 1}
    assert snapshot.last_end == {VEX_SUCCESS: finished(1).end_time}


def test_without_discovery_a_failed_poll_is_no_baseline_and_no_hourly_check() -> None:
    harness = LedgerHarness(sessions_config([session_id(1), session_id(2)], discover=False))
    harness.seconds = 60.0
    harness.ledger.begin_poll(harness.now)
    harness.ledger.confirm_finished(harness.now)
    harness.ledger.observe([finished(2)], harness.now)
    harness.ledger.end_poll(harness.now, succeeded=False)

    assert not harness.snapshot().listed
    assert harness.snapshot().finished_confirmed_at == 60.0
    harness.hold(running(1), finished(2))
    assert dict(harness.poll().activity.started) == {}
    assert harness.fetched == [session_id(1), session_id(2)]


def test_without_discovery_a_response_confirms_the_gauges_of_organizations_in_a_failed_poll() -> (
    None
):
    harness = LedgerHarness(sessions_config([session_id(1)], discover=False))
    harness.hold(finished(1))
    harness.poll()

    harness.seconds += 60
    harness.ledger.begin_poll(harness.now)
    harness.ledger.confirm_finished(harness.now)
    harness.ledger.end_poll(harness.now, succeeded=False)

    assert harness.snapshot().list_confirmed_at == harness.seconds


def test_without_discovery_the_hourly_check_waits_an_hour_from_the_last_one() -> None:
    harness = LedgerHarness(sessions_config([session_id(1)], discover=False))
    harness.hold(finished(1))
    harness.poll()
    harness.poll(RESYNC_SECONDS / 2)
    harness.poll(RESYNC_SECONDS / 2 - 1)
    assert harness.fetched == []

    harness.poll(1)

    assert harness.fetched == [session_id(1)]


# What happened


def updated(number: int, e_tag: int | None = None) -> SessionChange:
    return SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(number), e_tag=e_tag)


def test_a_reopened_session_is_running_and_its_second_finish_is_not_counted() -> None:
    harness = LedgerHarness()
    harness.hold(finished(5))
    harness.poll()
    harness.hold(finished(1))
    harness.poll()
    harness.ledger.take_changed()

    harness.hold(running(1))
    reopened = harness.poll()
    recorded_at_reopening = harness.ledger.take_changed()
    harness.hold(finished(1))
    again = harness.poll()

    assert [one.session.id for one in reopened.running] == [session_id(1)]
    assert recorded_at_reopening == ()
    assert dict(again.activity.started) == {(CONTOSO, SessionType.VEX): 1}
    assert dict(again.activity.finished) == {VEX_SUCCESS: 1}
    assert harness.ledger.take_changed() == (finished(1),)


def test_changed_sessions_are_returned_once_as_they_are_now() -> None:
    harness = LedgerHarness()
    harness.hold(running(5), finished(6))
    harness.poll()
    harness.hold(running(5, details="2 items processed"))
    harness.poll()

    assert harness.ledger.take_changed() == (running(5, details="2 items processed"), finished(6))
    assert harness.ledger.take_changed() == ()


def test_a_session_that_started_and_was_deleted_is_returned_as_it_was() -> None:
    harness = LedgerHarness()
    harness.hold(running(5))
    harness.poll()

    harness.server.clear()
    harness.poll()

    assert harness.ledger.take_changed() == (running(5),)


def test_evicted_sessions_are_counted_between_full_lists_and_no_longer_fetched() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=2, extras=["statistics"]))
    harness.hold(finished(5))
    harness.poll()
    harness.ledger.ids_to_fetch([updated(5)])

    for number in (3, 2, 1):
        harness.ledger.observe([finished(number)], harness.now)

    assert harness.snapshot().sessions_not_kept == 2
    assert harness.ledger.unconfirmed() == ()
    # The last extras of all of them are still to be counted.
    assert [one.session_id for one in harness.ledger.extras.due()] == [
        session_id(number) for number in (3, 2, 1)
    ]


def test_changes_fetch_updated_sessions_and_leave_deleted_ones_to_the_next_poll() -> None:
    harness = LedgerHarness()
    harness.hold(running(1, e_tag=7), running(2, e_tag=7), running(3), running(4))
    harness.poll()
    deleted = SessionChange(kind=ChangeKind.DELETE, session_id=session_id(4))

    to_fetch = harness.ledger.ids_to_fetch(
        [updated(0, 1), updated(1, 7), updated(2, 8), updated(3), updated(9, 1), deleted]
    )

    # Those that are stored come first.
    assert to_fetch == tuple(map(session_id, (2, 3, 0, 9)))
    assert session_id(4) in shown_ids(harness.snapshot())


def test_changes_of_sessions_that_are_not_followed_are_ignored() -> None:
    harness = LedgerHarness(sessions_config([session_id(1)], discover=False))

    assert harness.ledger.ids_to_fetch([updated(1), updated(2)]) == (session_id(1),)


def test_a_fetched_change_is_not_fetched_again_by_the_next_poll() -> None:
    harness = LedgerHarness()
    harness.hold(finished(100), finished(1))
    harness.poll()
    harness.ledger.ids_to_fetch([updated(100)])

    harness.ledger.observe([finished(100)], harness.now)
    harness.poll()

    assert harness.fetched == []


def test_an_expired_session_is_no_longer_fetched() -> None:
    harness = LedgerHarness(sessions_config(lookback=DAY_SECONDS))
    harness.hold(finished(60), finished(1))
    harness.poll()
    harness.ledger.ids_to_fetch([updated(60)])
    harness.server.clear()

    harness.seconds += DAY_SECONDS
    harness.ledger.begin_poll(harness.now)

    assert harness.ledger.unconfirmed() == ()


def test_extras_of_a_session_that_expires_through_a_correction_are_due_until_they_are_counted() -> (
    None
):
    harness = LedgerHarness(sessions_config(extras=["statistics"]))
    harness.hold(running(1))
    harness.poll()
    harness.hold(stopped(running(1)))
    harness.poll()
    assert len(harness.ledger.extras.due()) == 1
    long_ago = NOON - timedelta(days=30)

    harness.ledger.observe([finished(1, creation_time=long_ago, end_time=long_ago)], harness.now)
    (request,) = harness.ledger.extras.due()
    harness.ledger.extras.accept(request, Statistics(restored=3), harness.now)

    assert harness.ledger.extras.due() == ()
    assert sum(harness.snapshot().activity.restored_items.values()) == 3


def test_a_deleted_session_is_no_longer_fetched() -> None:
    harness = LedgerHarness(sessions_config(extras=["statistics"]))
    harness.hold(running(60), finished(61), *map(finished, range(1, 5)))
    harness.poll()
    del harness.server[session_id(60)]
    del harness.server[session_id(61)]
    harness.ledger.resync.request_by_id(harness.ledger.ids_to_fetch([updated(60), updated(61)]))

    harness.poll()
    assert set(harness.fetched) == {session_id(60), session_id(61)}

    harness.seconds += 60
    harness.ledger.begin_poll(harness.now)
    assert harness.ledger.unconfirmed() == ()
    assert harness.ledger.extras.due() == ()


def test_after_an_aborted_full_list_evicted_sessions_are_counted_one_by_one() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=1))
    harness.ledger.begin_poll(harness.now)
    harness.ledger.begin_list(ListRequest(created_since=None))
    harness.ledger.end_poll(harness.now, succeeded=False)

    harness.ledger.observe([finished(2)], harness.now)
    harness.ledger.observe([finished(1)], harness.now)

    assert harness.snapshot().sessions_not_kept == 1


def test_a_snapshot_before_the_first_poll_ends_confirms_no_finished_session() -> None:
    harness = LedgerHarness()
    harness.ledger.observe([finished(1)], harness.now)

    snapshot = harness.snapshot()

    assert snapshot.server == "hq"
    assert (snapshot.finished_confirmed_at, snapshot.list_confirmed_at) == (-inf, -inf)
    assert len(snapshot.finished) == 1


def test_of_the_changes_of_one_poll_those_evicted_since_are_passed_on_up_to_10000() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=10, lookback=30 * DAY_SECONDS))
    harness.hold(*(finished(number) for number in range(1, 11_001)))

    harness.poll()

    assert len(harness.ledger.take_changed()) == 10_000


# Organizations


def test_sessions_of_more_organizations_than_max_sessions_are_left_out_and_counted() -> None:
    harness = LedgerHarness(sessions_config([session_id(5)], max_sessions=2))
    harness.hold(*(finished(number, organization=f"org{number}") for number in range(1, 6)))

    snapshot = harness.poll()

    assert snapshot.activity.organizations == ("org1", "org2", "org5")
    assert set(shown_ids(snapshot)) <= {session_id(number) for number in (1, 2, 5)}
    assert snapshot.sessions_known + snapshot.sessions_not_kept == 5


def test_organizations_that_no_stored_session_names_any_more_make_room() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=4))
    for round_ in range(20):
        harness.hold(*(running(number, organization=f"org{round_}.{number}") for number in (1, 2)))
        snapshot = harness.poll()

        assert len(snapshot.activity.organizations) <= 4
        assert [one.session.organization for one in snapshot.running] == [
            f"org{round_}.1",
            f"org{round_}.2",
        ]


def test_organizations_of_running_sessions_make_no_room() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=3))
    harness.hold(running(1, organization="a"), running(2, organization="b"), finished(3))
    assert harness.poll().activity.organizations == ("a", "b", CONTOSO)
    del harness.server[session_id(3)]
    harness.poll(RESYNC_SECONDS)

    harness.hold(
        running(4, organization="c", creation_time=harness.now.wall),
        running(5, organization="d", creation_time=harness.now.wall - timedelta(seconds=1)),
    )
    snapshot = harness.poll()

    assert snapshot.activity.organizations == ("a", "b", "c")
    assert snapshot.sessions_not_kept == 1


def test_after_organizations_had_to_make_room_past_sessions_take_none_in_the_same_list() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=4, lookback=DAY_SECONDS))
    for days in range(10, 16):
        end = NOON - timedelta(days=days)
        harness.hold(finished(days, organization=f"past{days}", creation_time=end, end_time=end))
    harness.hold(
        finished(1, organization="a"),
        running(2, organization="b", creation_time=NOON - timedelta(days=13, hours=1)),
    )

    assert harness.poll().activity.organizations == ("a", "b")


@pytest.mark.parametrize("old", [0, 8])
def test_organizations_with_counts_make_room_once_their_sessions_have_expired(old: int) -> None:
    harness = LedgerHarness(sessions_config(max_sessions=3, lookback=DAY_SECONDS))
    long_ago = NOON - timedelta(days=60)
    for number in range(1000, 1000 + old):
        harness.hold(
            finished(number, organization=f"{number}", creation_time=long_ago, end_time=long_ago)
        )
    harness.poll()

    for number in range(10):
        session = running(number, organization=f"org{number}", creation_time=harness.now.wall)
        harness.hold(session)
        assert [one.session.id for one in harness.poll().running] == [session.id]
        harness.hold(stopped(session))
        activity = harness.poll().activity

        assert activity.finished[session.organization, SessionType.VEX, SessionResult.SUCCESS] == 1
        assert len(activity.organizations) <= 3
        assert {key[0] for key in activity.finished} <= set(activity.organizations)
        harness.poll(2 * DAY_SECONDS)


def test_organizations_of_stored_sessions_stay_when_one_more_does_not_fit() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=4))
    harness.hold(*(finished(100 * n, organization=f"org{n}") for n in range(1, 5)))
    harness.poll()
    harness.hold(running(1, organization="new"))

    snapshot = harness.poll()

    assert snapshot.activity.organizations == ("org1", "org2", "org3", "org4")
    assert snapshot.sessions_not_kept == 1


@pytest.mark.parametrize("every", [5, 7])
@pytest.mark.parametrize("first", [0, 1, 4])
def test_expired_sessions_take_no_place_from_current_ones_of_the_same_list(
    every: int, first: int
) -> None:
    harness = LedgerHarness(sessions_config(max_sessions=12))
    open_since = set(range(first, 60, every))
    for days in range(60):
        session = running(
            days, organization=f"org{days}", creation_time=NOON - timedelta(days=30 + days)
        )
        harness.hold(session if days in open_since else stopped(session))

    snapshot = harness.poll()

    assert {one.session.id for one in snapshot.running} == set(map(session_id, open_since))
    assert snapshot.sessions_not_kept == 0
    assert len(snapshot.activity.organizations) <= 12


def test_a_stored_session_whose_new_organization_does_not_fit_keeps_its_last_one() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=3))
    harness.hold(running(1), running(2), running(3))
    harness.poll()

    for round_ in range(20):
        harness.hold(*(running(n, organization=f"org{round_}.{n}") for n in (1, 2, 3)))
        snapshot = harness.poll()

        assert len(snapshot.activity.organizations) <= 2 * 3
        assert len(snapshot.running) == 3


def test_an_expired_session_of_an_organization_too_many_is_not_counted_as_left_out() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=1))
    long_ago = NOON - timedelta(days=60)
    harness.hold(
        finished(1),
        finished(2, organization="other", creation_time=long_ago, end_time=long_ago),
    )

    assert harness.poll().sessions_not_kept == 0


def test_an_organization_that_no_list_shows_for_lookback_is_forgotten() -> None:
    harness = LedgerHarness(sessions_config(lookback=7 * DAY_SECONDS))
    harness.hold(finished(1), finished(2), finished(3, organization="gone"))
    harness.poll()
    del harness.server[session_id(3)]

    assert harness.poll(RESYNC_SECONDS).activity.organizations == (CONTOSO, "gone")
    assert harness.poll(7 * DAY_SECONDS).activity.organizations == (CONTOSO,)


def test_where_organizations_were_left_out_those_that_are_gone_make_room_with_a_full_list() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=3))
    hostile = [finished(number, organization=f"org{number}") for number in range(1, 9)]
    harness.hold(*hostile)
    assert len(harness.poll().activity.organizations) == 3

    harness.server = {session_id(n): finished(n) for n in range(1, 4)}
    harness.poll(RESYNC_SECONDS)
    snapshot = harness.poll(RESYNC_SECONDS)

    assert snapshot.activity.organizations == (CONTOSO,)
    assert (snapshot.sessions_known, snapshot.sessions_not_kept) == (3, 0)
