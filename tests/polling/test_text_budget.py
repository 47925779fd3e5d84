"""The texts of sessions are bounded together, not only their number."""

from __future__ import annotations

from exporter.polling.text_budget import MEAN_TEXT_BYTES, TextBudget
from support.ledger_harness import LedgerHarness, sessions_config, shown_ids
from support.sample_sessions import finished, running, session_id

MAX_SESSIONS = 1000
LONG = "x" * 2048
FIT = MAX_SESSIONS * MEAN_TEXT_BYTES // (len(LONG) + 1000)


def test_what_is_removed_makes_room() -> None:
    budget = TextBudget(MAX_SESSIONS)
    for _ in range(1000):
        budget.add(finished(1, name=LONG))
    assert budget.is_exceeded

    for _ in range(900):
        budget.remove(finished(1, name=LONG))

    assert not budget.is_exceeded


def test_ordinary_texts_of_all_sessions_fit() -> None:
    budget = TextBudget(MAX_SESSIONS)
    for number in range(MAX_SESSIONS):
        budget.add(finished(number, reason="Failed to restore the item: " + 300 * "y"))

    assert not budget.is_exceeded


def test_a_few_long_texts_fit_however_few_sessions_are_kept() -> None:
    budget = TextBudget(1)
    for number in range(30):
        budget.add(finished(number, name=LONG, reason=LONG))

    assert not budget.is_exceeded


def harness_with_long_texts() -> LedgerHarness:
    harness = LedgerHarness(sessions_config(max_sessions=MAX_SESSIONS))
    harness.hold(*(finished(number, name=f"{number}{LONG}") for number in range(1, 1001)))
    return harness


def test_the_oldest_sessions_with_long_texts_are_evicted_and_counted() -> None:
    snapshot = harness_with_long_texts().poll()

    assert FIT <= snapshot.sessions_known < MAX_SESSIONS
    assert snapshot.sessions_not_kept == MAX_SESSIONS - snapshot.sessions_known
    assert shown_ids(snapshot)[:FIT] == [session_id(number) for number in range(1, FIT + 1)]


def test_texts_that_grow_evict_others() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=MAX_SESSIONS))
    harness.hold(*(finished(number) for number in range(2, 1001)), running(1))
    assert harness.poll().sessions_known == MAX_SESSIONS

    harness.hold(*(finished(number, name=f"{number}{LONG}") for number in range(2, 1001)))
    snapshot = harness.poll(3600)

    assert FIT <= snapshot.sessions_known < MAX_SESSIONS
    assert shown_ids(snapshot)[0] == session_id(1)


def test_texts_of_a_running_session_that_grow_evict_others() -> None:
    harness = harness_with_long_texts()
    harness.hold(running(2000))
    before = harness.poll().sessions_known

    harness.hold(running(2000, name=10 * LONG))
    snapshot = harness.poll()

    assert snapshot.sessions_known < before
    assert [one.session.name for one in snapshot.running] == [10 * LONG]


def test_sessions_that_end_or_are_deleted_make_room() -> None:
    harness = LedgerHarness(sessions_config(max_sessions=MAX_SESSIONS))
    for round_ in range(5):
        numbers = range(1 + 300 * round_, 301 + 300 * round_)
        harness.hold(*(running(number, name=f"{number}{LONG}") for number in numbers))
        assert len(harness.poll(3600).running) == 300
        harness.server.clear()
        harness.poll()  # requests the full list, which is believed if it is as empty in the poll after it
        harness.poll()
        assert harness.poll().sessions_known == 0
