"""What a session's arrival means, and how sessions leave."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exporter.polling.clock import Moment
from exporter.polling.store import SessionStore
from exporter.polling.transition import Transition
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType
from support.ledger_harness import sessions_config
from support.sample_sessions import NOON, finished, running, session_id

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
BEFORE_ALL = NOON - 10_000 * HOUR
"""A baseline that all sample sessions started after."""
KEY = ("contoso.onmicrosoft.com", SessionType.VEX, SessionResult.SUCCESS)


def at(since_noon: timedelta = timedelta()) -> Moment:
    wall = NOON + since_noon
    return Moment(monotonic=since_noon.total_seconds(), wall=wall, is_confirmed=True)


def store_with(
    *sessions: RestoreSession,
    configured: tuple[int, ...] = (),
    lookback: float = 86_400.0,
    max_sessions: int = 100,
) -> SessionStore:
    """A store that found these sessions at noon, and has no baseline yet."""
    ids = [session_id(number) for number in configured]
    store = SessionStore(sessions_config(ids, lookback=lookback, max_sessions=max_sessions))
    for session in sessions:
        store.put(session, at())
    return store


def finished_ids(store: SessionStore, max_discovered: int = 100) -> list[str]:
    blocks = store.finished_blocks(max_discovered)
    return [session.id for block in blocks for session in block.sessions]


def numbers(*numbers: int) -> list[str]:
    return [session_id(number) for number in numbers]


# What a record means


def test_before_the_baseline_sessions_are_found() -> None:
    store = store_with()

    assert store.put(running(1), at()) is Transition.FOUND
    assert store.put(finished(2), at()) is Transition.FOUND


def test_after_the_baseline_newer_sessions_have_started() -> None:
    store = store_with()
    store.set_baseline(running(5).creation_time, at())

    assert store.put(running(4), at()) is Transition.STARTED
    assert store.put(finished(3), at()) is Transition.RAN


def test_a_session_created_at_the_baseline_is_found() -> None:
    store = store_with()
    store.set_baseline(running(5).creation_time, at())

    assert store.put(running(5), at()) is Transition.FOUND
    assert store.put(finished(6), at()) is Transition.FOUND


def test_the_first_baseline_stands() -> None:
    store = store_with()
    store.set_baseline(running(5).creation_time, at())
    store.set_baseline(running(1).creation_time, at())

    assert store.put(running(4), at()) is Transition.STARTED


def test_a_running_session_that_goes_on_is_unchanged_and_confirmed() -> None:
    store = store_with(running(1))

    transition = store.put(running(1, details="2 items processed"), at(HOUR))

    assert transition is Transition.UNCHANGED
    assert store.running[session_id(1)].session.details == "2 items processed"
    assert store.running[session_id(1)].confirmed_at == 3600.0


def test_a_running_session_that_is_stopped_finishes_once() -> None:
    store = store_with(running(1))

    assert store.put(finished(1), at()) is Transition.FINISHED
    assert store.put(finished(1), at()) is Transition.UNCHANGED
    assert (list(store.running), list(store.finished)) == ([], numbers(1))


def test_a_session_that_finishes_past_its_lookback_is_not_stored() -> None:
    store = store_with(running(1))

    assert store.put(finished(1), at(25 * HOUR)) is Transition.FINISHED
    assert len(store) == 0


def test_a_finished_session_that_runs_again_is_reopened_and_finishes_again() -> None:
    store = store_with(finished(1))

    assert store.put(running(1), at()) is Transition.REOPENED
    assert (list(store.running), list(store.finished)) == (numbers(1), [])
    assert store.put(running(1), at()) is Transition.UNCHANGED
    assert store.put(finished(1), at()) is Transition.FINISHED_AGAIN


def test_each_reopening_is_finished_again_once() -> None:
    store = store_with(finished(1), running(2))
    store.put(running(1), at())
    store.put(finished(1), at())

    assert store.put(finished(2), at()) is Transition.FINISHED
    store.remove(session_id(1), at())
    store.put(running(1), at())
    assert store.put(finished(1), at()) is Transition.FINISHED


def test_a_deleted_session_is_not_taken_for_a_reopened_one() -> None:
    store = store_with(finished(1))
    store.put(running(1), at())
    store.remove(session_id(1), at())

    store.put(running(1), at())

    assert store.put(finished(1), at()) is Transition.FINISHED


def test_a_session_that_returns_after_its_eviction_is_not_taken_for_a_reopened_one() -> None:
    store = store_with(finished(5), max_sessions=1)
    store.put(running(5), at())
    store.put(finished(5), at())
    store.put(finished(1), at())

    assert store.put(running(5), at()) is Transition.FOUND
    assert store.put(finished(5), at()) is Transition.FINISHED


def test_sessions_created_no_later_than_one_whose_finish_is_forgotten_count_as_finished() -> None:
    store = store_with(running(5), max_sessions=1)
    store.put(finished(5), at())
    store.put(running(3), at())
    store.put(finished(3), at())

    assert [number for number in (1, 3, 5, 9) if store.saw_finish(finished(number))] == [3, 5, 9]


def test_a_finished_session_with_other_values_is_corrected_and_counted_anyway_once() -> None:
    store = store_with(finished(1))

    assert store.put(finished(1, result=SessionResult.FAILED), at()) is Transition.CORRECTED
    assert dict(store.counts.stopped) == {(*KEY[:2], SessionResult.FAILED): 1}
    assert finished_ids(store) == numbers(1)


def test_a_corrected_session_evicts_no_other_from_a_full_store() -> None:
    store = store_with(finished(1), finished(2), max_sessions=2)

    store.put(finished(1, result=SessionResult.FAILED), at())

    assert finished_ids(store) == numbers(1, 2)


@pytest.mark.parametrize("values", [{"end_time": NOON}, {"details": "2 items processed"}])
def test_a_finished_session_with_another_end_has_finished_again(values: dict[str, Any]) -> None:
    store = store_with(finished(1))

    assert store.put(finished(1, **values), at()) is Transition.FINISHED_AGAIN
    assert store.put(finished(1, **values), at()) is Transition.UNCHANGED
    assert (dict(store.counts.stopped), finished_ids(store)) == ({KEY: 1}, numbers(1))


def test_a_session_past_its_lookback_is_expired() -> None:
    store = store_with()
    ended = finished(1).end_time
    assert ended is not None
    age = ended - NOON + 24 * HOUR

    assert store.put(finished(1), at(age)) is Transition.EXPIRED
    assert store.put(finished(1), at(age - timedelta(microseconds=1))) is Transition.FOUND


def test_a_stored_session_whose_corrected_times_are_too_old_is_expired() -> None:
    store = store_with(finished(1))
    old = finished(1, creation_time=NOON - 50 * HOUR, end_time=NOON - 49 * HOUR)

    assert store.put(old, at()) is Transition.EXPIRED
    assert (len(store), finished_ids(store), dict(store.counts.stopped)) == (0, [], {})


def test_a_finished_session_without_end_time_has_ended_when_it_is_first_seen() -> None:
    store = store_with(lookback=60.0)

    assert store.put(finished(100, end_time=None), at(25 * HOUR)) is Transition.FOUND


def test_a_configured_session_never_expires() -> None:
    store = store_with(configured=(1,))

    assert store.put(finished(1), at(100 * HOUR)) is Transition.FOUND
    assert store.expire(at(200 * HOUR)) == []


def test_a_session_created_within_its_lookback_is_found_whenever_it_ended() -> None:
    store = store_with()
    day = finished(1, creation_time=NOON - 24 * HOUR, end_time=NOON - 30 * HOUR)

    assert store.put(day, at(-timedelta(microseconds=1))) is Transition.FOUND
    assert store_with().put(day, at()) is Transition.EXPIRED


# A session that returns


def store_with_baseline(*, lookback: float = 86_400.0, max_sessions: int = 100) -> SessionStore:
    """A store whose baseline all sessions started after."""
    store = store_with(lookback=lookback, max_sessions=max_sessions)
    store.set_baseline(BEFORE_ALL, at())
    return store


def test_a_running_session_that_was_removed_and_returns_has_not_started_again() -> None:
    store = store_with_baseline()
    store.put(running(1), at())
    store.remove(session_id(1), at())

    assert store.put(running(1), at()) is Transition.FOUND
    assert store.put(finished(1), at()) is Transition.FINISHED


def test_a_counted_session_that_was_removed_and_returns_is_not_an_event() -> None:
    store = store_with_baseline()
    store.put(finished(1), at())
    store.remove(session_id(1), at())

    assert store.put(finished(1), at()) is Transition.FOUND


def test_a_counted_session_that_was_removed_and_returns_running_does_not_finish_first() -> None:
    store = store_with_baseline()
    store.put(finished(1), at())
    store.remove(session_id(1), at())

    assert store.put(running(1), at()) is Transition.FOUND
    assert store.put(finished(1), at()) is Transition.FINISHED_AGAIN


def test_a_counted_session_that_expired_and_returns_running_does_not_finish_first() -> None:
    store = store_with_baseline()
    store.put(finished(1), at())
    store.expire(at(25 * HOUR))

    assert store.put(running(1), at(25 * HOUR)) is Transition.FOUND
    assert store.put(finished(1), at(25 * HOUR)) is Transition.FINISHED_AGAIN


def test_a_running_session_that_was_removed_and_returns_stopped_has_finished_once() -> None:
    store = store_with(running(5))
    store.set_baseline(running(5).creation_time, at())
    store.remove(session_id(5), at())

    assert store.put(finished(5), at()) is Transition.FINISHED
    assert finished_ids(store) == numbers(5)
    store.remove(session_id(5), at())
    assert store.put(finished(5), at()) is Transition.FOUND


def test_a_running_session_that_was_removed_and_returns_past_its_lookback_has_finished() -> None:
    store = store_with_baseline()
    store.put(running(1), at())
    store.remove(session_id(1), at())

    assert store.put(finished(1), at(25 * HOUR)) is Transition.FINISHED
    assert len(store) == 0


def test_a_removed_session_that_returns_stopped_makes_room_for_itself() -> None:
    store = store_with(running(1), finished(9), max_sessions=2)
    store.remove(session_id(1), at())
    store.put(finished(2), at())

    assert store.put(finished(1), at()) is Transition.FINISHED
    assert finished_ids(store) == numbers(1, 2)


def test_of_more_ids_than_max_sessions_the_first_are_forgotten_and_not_counted_again() -> None:
    store = store_with_baseline(max_sessions=2)
    for number in (5, 4, 3):
        store.put(running(number), at())
        store.remove(session_id(number), at())

    assert store.put(running(6), at()) is Transition.FOUND
    assert store.put(finished(6), at()) is Transition.FINISHED_AGAIN
    assert store.put(finished(5), at()) is Transition.FOUND
    assert store.put(running(2), at()) is Transition.STARTED


def test_of_more_configured_sessions_than_max_sessions_none_is_an_event_when_it_returns() -> None:
    store = store_with(finished(3), finished(2), configured=(2, 3), max_sessions=1)
    store.set_baseline(finished(5).creation_time, at())
    for number in (2, 3):
        store.remove(session_id(number), at())

    returned = [store.put(finished(number), at()) for number in (2, 3)]

    assert returned == [Transition.FOUND] * 2


def test_a_forgotten_session_from_the_future_does_not_hide_new_ones() -> None:
    store = store_with_baseline(max_sessions=1)
    for number in (7, 6, 5):
        session = running(number, creation_time=NOON + number * 1000 * HOUR)
        store.put(session, at())
        store.remove(session.id, at())

    new = running(1, creation_time=NOON + 25 * HOUR)
    assert store.put(new, at(25 * HOUR)) is Transition.STARTED


def test_a_session_from_the_distant_future_is_counted_once_however_many_follow_it() -> None:
    store = store_with_baseline(max_sessions=2)
    ahead = running(9, creation_time=NOON + 1000 * HOUR)
    for session in (ahead, *map(running, (5, 4, 3, 2))):
        assert store.put(session, at()) is Transition.STARTED
        store.remove(session.id, at())

    assert store.put(ahead, at()) is Transition.FOUND


@pytest.mark.parametrize("ahead_seconds", [0, 1, 90, 7200, 12 * 3600])
def test_sessions_dated_by_a_clock_that_is_ahead_are_counted_once(ahead_seconds: int) -> None:
    store = store_with_baseline(max_sessions=2)
    moments = [timedelta(seconds=60 * number) for number in range(5)]
    ahead = [
        running(number, creation_time=NOON + moment + timedelta(seconds=ahead_seconds))
        for number, moment in enumerate(moments)
    ]
    for session, moment in zip(ahead, moments, strict=True):
        assert store.put(session, at(moment)) is Transition.STARTED
        store.remove(session.id, at())

    for session in ahead:
        assert store.put(session, at(HOUR)) is Transition.FOUND
        store.remove(session.id, at())


def created(since_noon: timedelta) -> dict[str, datetime]:
    """The times of a session that is short."""
    return {"creation_time": NOON + since_noon, "end_time": NOON + since_noon + SECOND}


def test_after_the_clock_was_set_back_sessions_that_start_are_counted() -> None:
    store = store_with()
    store.put(finished(9, **created(2 * HOUR)), at(2 * HOUR))
    store.set_baseline(NOON + 2 * HOUR, at())

    assert store.put(finished(8, **created(-SECOND)), at()) is Transition.RAN
    # Another machine of the installation may date sessions.
    assert store.put(finished(7, **created(30 * SECOND)), at()) is Transition.RAN
    store.remove(session_id(9), at())
    assert store.put(finished(9, **created(2 * HOUR)), at(3 * HOUR)) is Transition.FOUND


@pytest.mark.parametrize(
    ("max_sessions", "new"),
    [(1, Transition.FOUND), (3, Transition.FOUND), (100, Transition.RAN)],
)
def test_after_the_clock_was_set_back_no_session_of_before_is_counted_again(
    max_sessions: int, new: Transition
) -> None:
    store = store_with_baseline(max_sessions=max_sessions)
    before = [finished(number, **created(2 * HOUR + number * SECOND)) for number in range(6)]
    for session in before:
        assert store.put(session, at(3 * HOUR)) is Transition.RAN

    for number in range(6, 9):
        now = number * SECOND
        again = {store.put(session, at(now)) for session in before}
        assert again <= {Transition.FOUND, Transition.UNCHANGED}
        assert store.put(finished(number, **created(now)), at(now)) is new


def test_a_session_that_expired_before_the_clock_was_set_back_is_not_an_event() -> None:
    session = finished(1, **created(2 * HOUR))
    store = store_with(lookback=60.0)
    store.put(session, at(2 * HOUR))
    store.set_baseline(NOON + 2 * HOUR, at(2 * HOUR))
    assert store.expire(at(3 * HOUR)) == [session.id]

    assert store.put(session, at()) is Transition.FOUND
    store.expire(at(3 * HOUR))
    assert store.put(session, at(3 * HOUR)) is Transition.EXPIRED


def test_after_the_clock_was_set_back_no_configured_session_of_before_is_an_event() -> None:
    before = [finished(number, **created(2 * HOUR)) for number in (8, 9)]
    store = store_with(configured=(8, 9), max_sessions=1)
    for session in before:
        store.put(session, at(2 * HOUR))
    store.set_baseline(NOON + 2 * HOUR, at(2 * HOUR))
    store.put(finished(7, **created(-SECOND)), at())
    for session in before:
        store.remove(session.id, at())

    assert {store.put(session, at(3 * HOUR)) for session in before} == {Transition.FOUND}


def test_a_baseline_that_the_clock_reaches_stays() -> None:
    store = store_with()
    store.set_baseline(NOON, at())

    assert store.put(finished(1, **created(-SECOND)), at()) is Transition.FOUND


def test_a_baseline_that_the_clock_is_now_behind_stays_if_the_clock_may_be_wrong() -> None:
    store = store_with()
    store.set_baseline(NOON, at())
    behind = replace(at(-24 * HOUR), is_confirmed=False)

    assert store.put(finished(1, **created(-24 * HOUR)), behind) is Transition.FOUND


def test_a_session_found_before_an_earlier_baseline_is_not_an_event_when_it_returns() -> None:
    session = finished(1, **created(20 * SECOND))
    store = store_with(lookback=60.0)
    store.put(session, at(30 * SECOND))
    store.set_baseline(NOON, at())
    store.expire(at(HOUR))

    assert store.put(session, at(HOUR)) is Transition.EXPIRED


def test_a_session_without_an_end_that_stopped_before_the_clock_was_set_back_expires() -> None:
    store = store_with(lookback=60.0)
    store.put(finished(1, end_time=None), at(1000 * HOUR))
    store.lookback.follow_clock(at())

    assert store.expire(at(HOUR)) == numbers(1)


def test_of_more_expired_sessions_without_an_end_than_max_sessions_some_are_forgotten() -> None:
    store = store_with(max_sessions=2)
    for number in range(1, 7):
        store.put(finished(number, end_time=None), at(number * HOUR))
        store.expire(at((24 + number) * HOUR))

    assert len(store.lookback.expired) == 2
    assert session_id(6) in store.lookback.expired


# How sessions leave


def test_a_session_expires_when_its_lookback_after_its_end_is_over() -> None:
    store = store_with(finished(1), finished(2))
    ended = finished(2).end_time
    assert ended is not None
    over = ended - NOON + 24 * HOUR

    assert store.expire(at(over - timedelta(microseconds=1))) == []
    assert store.expire(at(over)) == numbers(2)
    assert list(store.finished) == numbers(1)
    assert store.lookback.expired == {}


def test_a_session_that_ended_when_it_was_created_expires_when_its_lookback_is_over() -> None:
    moment = finished(1).creation_time
    store = store_with(finished(1, end_time=moment))

    assert store.expire(at(moment - NOON + 24 * HOUR)) == numbers(1)


def test_a_long_session_keeps_no_older_short_one_from_expiring() -> None:
    long_ago = NOON - 30 * HOUR
    store = store_with(
        finished(1, creation_time=long_ago, end_time=NOON - HOUR),
        finished(2, creation_time=long_ago + HOUR, end_time=NOON - 20 * HOUR),
    )

    assert store.expire(at(5 * HOUR)) == numbers(2)


def test_a_session_without_an_end_expires_after_it_was_first_seen_stopped() -> None:
    store = store_with(finished(1, end_time=None))
    store.put(finished(1, end_time=None, details="corrected"), at(HOUR))

    assert store.expire(at(24 * HOUR - timedelta(microseconds=1))) == []
    assert store.expire(at(24 * HOUR)) == numbers(1)
    assert store.lookback.expired == {session_id(1): NOON}


def test_a_session_whose_end_is_withdrawn_expires_after_the_correction() -> None:
    store = store_with(finished(1))

    assert store.put(finished(1, end_time=None), at(HOUR)) is Transition.CORRECTED
    assert store.expire(at(25 * HOUR - timedelta(microseconds=1))) == []
    assert store.expire(at(25 * HOUR)) == numbers(1)


def test_a_session_that_stops_again_expires_after_it_was_last_seen_to_stop() -> None:
    endless = finished(1, end_time=None)
    store = store_with(endless)
    store.put(running(1), at(HOUR))
    store.put(endless, at(2 * HOUR))

    assert store.expire(at(25 * HOUR)) == []
    assert store.expire(at(26 * HOUR)) == numbers(1)


def test_an_expired_session_that_stops_again_expires_after_it_was_last_seen_to_stop() -> None:
    endless = finished(1, end_time=None)
    store = store_with(endless)
    store.expire(at(24 * HOUR))
    store.put(running(1), at(25 * HOUR))
    store.put(endless, at(26 * HOUR))

    assert store.expire(at(49 * HOUR)) == []
    assert store.expire(at(50 * HOUR)) == numbers(1)


def test_a_session_without_an_end_that_was_deleted_and_returns_is_not_expired() -> None:
    endless = finished(1, end_time=None)
    store = store_with(endless)
    store.remove(endless.id, at())

    assert store.put(endless, at(25 * HOUR)) is Transition.FOUND


def test_an_expired_session_without_an_end_is_ignored() -> None:
    store = store_with(finished(1, end_time=None))
    store.expire(at(24 * HOUR))

    assert store.put(finished(1, end_time=None), at(24 * HOUR)) is Transition.IGNORED
    assert len(store) == 0


def test_an_expired_session_without_an_end_returns_if_the_clock_was_set_back() -> None:
    store = store_with(finished(1, end_time=None))
    store.expire(at(30 * HOUR))

    assert store.put(finished(1, end_time=None), at(23 * HOUR)) is Transition.FOUND
    assert store.expire(at(24 * HOUR)) == numbers(1)


@pytest.mark.parametrize(
    ("end_hour", "transition", "stored"),
    [(1, Transition.FOUND, 1), (-1, Transition.IGNORED, 0)],
)
def test_an_expired_session_returns_if_it_has_an_end_within_its_lookback(
    end_hour: int, transition: Transition, stored: int
) -> None:
    store = store_with(finished(1, end_time=None))
    store.expire(at(24 * HOUR))

    ended = finished(1, end_time=NOON + end_hour * HOUR)
    assert store.put(ended, at(24 * HOUR)) is transition
    assert len(store) == stored


def test_an_end_at_the_end_of_time_and_a_lookback_do_not_overflow() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    store = store_with(finished(1, end_time=last))

    assert store.expire(at(100 * HOUR)) == []


def test_the_oldest_finished_sessions_make_room() -> None:
    store = store_with(finished(1), finished(2), finished(3), max_sessions=2)

    assert finished_ids(store) == numbers(1, 2)
    assert store.take_evicted() == numbers(3)
    assert store.take_evicted() == []


def test_a_session_from_the_future_that_was_found_and_returns_is_not_an_event() -> None:
    ahead = finished(1, creation_time=NOON + 24 * HOUR, end_time=NOON + 25 * HOUR)
    store = store_with(ahead)
    store.set_baseline(running(5).creation_time, at())
    store.remove(ahead.id, at())

    assert store.put(ahead, at()) is Transition.FOUND


def test_a_running_session_from_the_future_that_was_found_and_returns_finishes_once() -> None:
    ahead = running(1, creation_time=NOON + 24 * HOUR)
    store = store_with(ahead)
    store.set_baseline(running(5).creation_time, at())
    store.remove(ahead.id, at())

    assert store.put(ahead, at()) is Transition.FOUND
    assert store.put(finished(1, creation_time=NOON + 24 * HOUR), at()) is Transition.FINISHED
    store.remove(ahead.id, at())
    assert store.put(finished(1, creation_time=NOON + 24 * HOUR), at()) is Transition.FOUND


def test_an_evicted_session_from_the_future_does_not_end_counting() -> None:
    ahead = finished(1, creation_time=NOON + 24 * HOUR, end_time=NOON + 25 * HOUR)
    store = store_with(ahead, running(9), running(8), max_sessions=3)
    store.set_baseline(running(5).creation_time, at())

    assert store.put(running(2), at()) is Transition.STARTED
    assert store.take_evicted() == [ahead.id]
    store.remove(session_id(9), at())
    assert store.put(ahead, at()) is Transition.FOUND


def test_a_session_no_newer_than_an_evicted_one_is_found_and_not_an_event() -> None:
    store = store_with(max_sessions=1)
    store.set_baseline(BEFORE_ALL, at())
    store.put(finished(5), at())
    store.put(finished(3), at())

    assert store.take_evicted() == numbers(5)
    assert store.put(finished(5), at()) is Transition.FOUND
    assert store.put(finished(4), at()) is Transition.RAN
    assert store.put(finished(5), at()) is Transition.FOUND
    assert store.put(finished(1), at()) is Transition.RAN


def test_a_session_created_at_the_same_time_as_an_evicted_one_is_not_an_event() -> None:
    store = store_with_baseline(max_sessions=1)
    store.put(finished(5, **created(timedelta())), at())
    store.put(running(3), at())
    assert store.take_evicted() == numbers(5)
    store.remove(session_id(3), at())

    assert store.put(finished(4, **created(timedelta())), at()) is Transition.FOUND


def test_a_running_session_takes_the_room_of_a_finished_one() -> None:
    store = store_with(finished(5), finished(3), max_sessions=2)

    assert store.put(running(1), at()) is Transition.FOUND
    assert (list(store.running), list(store.finished)) == (numbers(1), numbers(3))


def test_a_running_session_without_room_is_ignored() -> None:
    store = store_with(running(1), running(2), max_sessions=2)

    assert store.put(running(3), at()) is Transition.IGNORED
    assert list(store.running) == numbers(1, 2)
    assert store.take_evicted() == numbers(3)


def test_configured_sessions_need_no_room_and_are_not_evicted() -> None:
    store = store_with(finished(3), running(2), configured=(1, 2, 3), max_sessions=1)

    assert store.put(running(1), at()) is Transition.FOUND
    assert store.put(finished(9), at()) is Transition.FOUND
    assert store.take_evicted() == numbers(9)
    assert len(store) == 3


def test_a_removed_session_is_gone_from_everywhere() -> None:
    store = store_with(running(1), finished(2))

    for number in (1, 2, 3):
        store.remove(session_id(number), at())

    assert (len(store), finished_ids(store), dict(store.counts.stopped)) == (0, [], {})


# What is stored


def test_the_newest_end_that_remains_is_looked_for_among_configured_and_discovered_sessions() -> (
    None
):
    store = store_with(finished(1), finished(2), finished(3), configured=(2,))

    store.remove(session_id(1), at())
    assert store.counts.last_end == {KEY: finished(2).end_time}
    store.remove(session_id(2), at())
    assert store.counts.last_end == {KEY: finished(3).end_time}


def test_a_session_is_found_by_its_id_whether_it_runs_or_not() -> None:
    store = store_with(running(1), finished(2))

    assert [store.find(one) for one in numbers(1, 2, 3)] == [running(1), finished(2), None]


def test_another_record_with_extras_replaces_the_stored_one() -> None:
    store = store_with(running(1), finished(2))
    extras = Statistics(restored=3)

    for session in (running(1), finished(2), finished(3)):
        store.replace(session.with_extra("statistics", extras))

    assert store.running[session_id(1)].session.statistics == extras
    assert store.running[session_id(1)].confirmed_at == 0.0
    assert store.finished[session_id(2)].statistics == extras
    assert [
        session.statistics for block in store.finished_blocks(9) for session in block.sessions
    ] == [extras]
    assert len(store) == 2


def test_running_sessions_come_newest_first_and_know_whether_they_are_configured() -> None:
    store = store_with(running(2), running(1), running(3), configured=(3,))

    assert [(one.session.id, one.configured) for one in store.running_newest_first()] == [
        (session_id(1), False),
        (session_id(2), False),
        (session_id(3), True),
    ]


def test_configured_finished_sessions_come_before_the_newest_discovered_ones() -> None:
    store = store_with(*map(finished, (1, 2, 3, 4)), configured=(4,))

    assert finished_ids(store, 2) == numbers(4, 1, 2)
    assert store.discovered_finished_count == 3


def test_sessions_created_since_a_moment_are_counted_with_all_running_ones() -> None:
    store = store_with(*map(finished, (1, 2, 3)), running(50), configured=(2,))

    assert store.count_created_since(finished(2).creation_time) == 3
    assert store.count_created_since(finished(3).creation_time) == 4


def test_sessions_created_at_a_moment_are_among_those_created_since() -> None:
    store = store_with(finished(1), finished(4), running(2), running(3), running(5))
    store.put(finished(3, id=session_id(9)), at())

    found = store.ids_created_since(running(3).creation_time)

    assert found == {*numbers(1, 2, 3, 9)}
