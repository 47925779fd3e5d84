from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from exporter.config import Extra
from exporter.polling.interfaces import ExtraRequest
from exporter.polling.plan import ListRequest
from exporter.polling.proven_restores import ProvenRestores
from exporter.polling.snapshot import Snapshot, StartedKey
from exporter.vb365.records.extras import EventOperation, EventStatus, EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType
from support.ledger_harness import DAY_SECONDS, LedgerHarness, sessions_config
from support.sample_sessions import NOON, finished, running, session_id

CONTOSO = "contoso.onmicrosoft.com"
HOUR_SECONDS = 3600.0
VEX = (CONTOSO, SessionType.VEX)
FULL = ListRequest(created_since=None)


def proof(days_ago: float, number: int | None = None, **fields: Any) -> RestoreSession:
    """Return a session that was opened so many days ago, took an hour and restored two items."""
    created = NOON - timedelta(days=days_ago)
    fields = {
        "creation_time": created,
        "end_time": created + timedelta(hours=1),
        "details": "2 items processed",
        **fields,
    }
    return finished(number or int(days_ago * 24), **fields)


def end(days_ago: float) -> datetime:
    return NOON - timedelta(days=days_ago) + timedelta(hours=1)


def restored(snapshot: Snapshot) -> Mapping[StartedKey, datetime]:
    return dict(snapshot.last_restored)


def harness_with(*sessions: RestoreSession, **settings: Any) -> LedgerHarness:
    harness = LedgerHarness(sessions_config(**settings))
    harness.hold(*sessions)
    return harness


def test_the_newest_proven_restore_is_known_by_organization_and_type() -> None:
    harness = harness_with(
        proof(1),
        proof(2),
        proof(3, type=SessionType.VET),
        proof(0.5, organization="fabrikam.example.com"),
    )

    assert restored(harness.poll()) == {
        VEX: end(1),
        (CONTOSO, SessionType.VET): end(3),
        ("fabrikam.example.com", SessionType.VEX): end(0.5),
    }


@pytest.mark.parametrize(
    "session",
    [
        proof(1, details="0 items processed"),
        proof(1, details=""),
        proof(1, result=SessionResult.FAILED),
        proof(1, result=SessionResult.UNKNOWN),
        proof(1, end_time=None),
        running(24, details="2 items processed"),
    ],
    ids=["no items", "unknown items", "failed", "unknown result", "no end", "running"],
)
@pytest.mark.parametrize("age_days", [2, 40])
def test_what_restored_nothing_is_no_proof(session: RestoreSession, age_days: float) -> None:
    """Neither within lookback nor past it."""
    harness = harness_with(proof(age_days + 1))
    nothing = session._replace(creation_time=NOON - timedelta(days=age_days))
    if nothing.end_time is not None:
        nothing = nothing._replace(end_time=end(age_days))
    harness.hold(nothing)

    assert restored(harness.poll()) == {VEX: end(age_days + 1)}


def test_sessions_past_their_lookback_count_although_they_are_not_stored() -> None:
    harness = harness_with(proof(30), proof(400))

    snapshot = harness.poll()

    assert (restored(snapshot), snapshot.sessions_known) == ({VEX: end(30)}, 0)


def test_a_session_that_expires_or_is_evicted_still_counts() -> None:
    harness = harness_with(proof(6.9), proof(0.1, details=""), max_sessions=2)
    harness.poll()

    harness.hold(*(proof(0, number, details="") for number in (1001, 1002)))
    evicted = harness.poll(1.0)
    assert (restored(evicted), evicted.sessions_not_kept) == ({VEX: end(6.9)}, 2)

    expired = harness.poll(DAY_SECONDS)
    assert restored(expired) == {VEX: end(6.9)}


def test_a_restore_counts_as_soon_as_its_session_has_finished() -> None:
    harness = harness_with(proof(30), running(1))
    assert restored(harness.poll()) == {VEX: end(30)}

    done = finished(1, details="1 item processed")
    harness.hold(done)

    assert restored(harness.poll()) == {VEX: done.end_time}


@pytest.mark.parametrize("days", [(2, 3), (30, 40)], ids=["stored", "past lookback"])
def test_a_deleted_session_stops_counting_at_the_next_full_list(days: tuple[int, int]) -> None:
    newest, older = days
    harness = harness_with(proof(newest), proof(older), proof(older + 1))
    harness.poll()

    del harness.server[proof(newest).id]
    before = restored(harness.poll())
    after = restored(harness.poll(HOUR_SECONDS))

    assert (before, after) == ({VEX: end(newest)}, {VEX: end(older)})


def test_history_that_is_cleared_is_believed_when_the_next_full_list_agrees() -> None:
    harness = harness_with(*map(proof, (30, 31, 32)))
    harness.poll()

    harness.server.clear()
    doubted = restored(harness.poll(HOUR_SECONDS))
    believed = restored(harness.poll(60.0))

    assert (doubted, believed) == ({VEX: end(30)}, {})


def test_a_full_list_without_most_of_the_sessions_past_their_lookback_is_believed_the_second_time() -> (
    None
):
    harness = harness_with(*map(proof, (30, 31, 32, 33, 34)))
    harness.poll()

    for days_ago in (30, 31, 32):
        del harness.server[proof(days_ago).id]
    doubted = restored(harness.poll(HOUR_SECONDS))
    believed = restored(harness.poll(60.0))

    assert (doubted, believed) == ({VEX: end(30)}, {VEX: end(33)})


def test_a_full_list_that_shows_nothing_once_lowers_nothing() -> None:
    harness = harness_with(*map(proof, (30, 31, 32)))
    harness.poll()

    harness.hidden_in_lists = set(harness.server)
    hidden = restored(harness.poll(HOUR_SECONDS))
    harness.hidden_in_lists = set()
    shown = restored(harness.poll(60.0))

    assert hidden == shown == {VEX: end(30)}


def test_a_full_list_with_an_unreadable_record_only_adds_unless_it_stays_unreadable() -> None:
    harness = harness_with(proof(30), proof(31))
    harness.poll()
    ledger = harness.ledger

    def list_with_an_unreadable_record() -> Snapshot:
        harness.seconds += HOUR_SECONDS
        ledger.begin_poll(harness.now)
        ledger.begin_list(FULL)
        ledger.observe([proof(29, type=SessionType.VET)], harness.now)
        ledger.observe([proof(31)], harness.now)
        ledger.resync.add_unreadable("")
        ledger.end_list(FULL, harness.now)
        ledger.end_poll(harness.now, succeeded=True)
        return harness.snapshot()

    once = restored(list_with_an_unreadable_record())
    again = restored(list_with_an_unreadable_record())

    vet = (CONTOSO, SessionType.VET)
    assert once == {VEX: end(30), vet: end(29)}
    assert again == {VEX: end(31), vet: end(29)}


def test_a_full_list_that_breaks_off_only_adds_and_the_next_one_decides() -> None:
    harness = harness_with(proof(30), proof(31))
    harness.poll()

    ledger = harness.ledger
    harness.seconds += HOUR_SECONDS
    ledger.begin_poll(harness.now)
    ledger.begin_list(FULL)
    ledger.observe([proof(29)], harness.now)
    ledger.end_poll(harness.now, succeeded=False)
    broken_off = restored(harness.snapshot())
    whole = restored(harness.poll())

    assert (broken_off, whole) == ({VEX: end(29)}, {VEX: end(30)})


def test_a_list_read_again_forgets_what_the_first_attempt_showed() -> None:
    harness = harness_with(proof(30))
    ledger = harness.ledger
    ledger.begin_poll(harness.now)
    for session in (proof(29), proof(30)):
        ledger.begin_list(FULL)
        ledger.observe([session], harness.now)
    ledger.end_list(FULL, harness.now)

    assert restored(harness.snapshot()) == {VEX: end(30)}


def test_a_reopened_session_does_not_count_until_it_finishes_again() -> None:
    harness = harness_with(proof(3), finished(1, details="1 item processed"))
    closed = restored(harness.poll())
    harness.hold(running(1))
    harness.ledger.resync.request_by_id([session_id(1)])
    reopened = restored(harness.poll())
    again = finished(1, end_time=NOON, details="1 item processed")
    harness.hold(again)

    assert closed == {VEX: finished(1).end_time}
    assert reopened == {VEX: end(3)}
    assert restored(harness.poll()) == {VEX: NOON}


def test_a_corrected_result_counts() -> None:
    harness = harness_with(proof(3), proof(2))
    harness.poll()

    harness.hold(proof(2, result=SessionResult.FAILED))

    assert restored(harness.poll(HOUR_SECONDS)) == {VEX: end(3)}


def test_without_discovery_the_configured_sessions_alone_count() -> None:
    configured = proof(30)
    harness = harness_with(
        configured, proof(29), running(1), ids=[configured.id, session_id(1)], discover=False
    )
    assert restored(harness.poll()) == {VEX: end(30)}

    harness.hold(finished(1, details="1 item processed"))
    assert restored(harness.poll()) == {VEX: finished(1).end_time}

    del harness.server[session_id(1)]
    assert restored(harness.poll(HOUR_SECONDS)) == {VEX: end(30)}


def test_nothing_is_known_before_a_list_was_read_to_its_end() -> None:
    harness = harness_with(proof(1))
    ledger = harness.ledger
    ledger.begin_poll(harness.now)
    ledger.begin_list(FULL)
    ledger.observe([proof(1)], harness.now)
    ledger.end_poll(harness.now, succeeded=False)

    assert restored(harness.snapshot()) == {}


def test_stale_proofs_are_not_shown() -> None:
    snapshot = harness_with(proof(1)).poll()

    assert restored(snapshot.without_stale(1e9)) == {}


# Extras

STATISTICS = ("statistics",)
BOTH: tuple[Extra, ...] = ("statistics", "events")


def settle(harness: LedgerHarness, **values: Statistics | EventSummary | None) -> Snapshot:
    """Answer the requests for the extras of session 1 a minute later; None fails for good."""
    extras = harness.ledger.extras
    later = replace(harness.now, monotonic=harness.now.monotonic + 60)
    for extra, value in values.items():
        request = ExtraRequest(session_id=session_id(1), extra=extra)  # type: ignore[arg-type]  # a name of one
        if value is None:
            for _ in range(3):
                extras.record_failure(request, later)
        else:
            extras.accept(request, value, later)
    return harness.snapshot()


def finish(harness: LedgerHarness, details: str, *, seen_running: bool = True) -> Snapshot:
    """Let session 1 finish, with extras still to be fetched."""
    if seen_running:
        harness.hold(running(1, creation_time=NOON))
    harness.poll()
    harness.hold(finished(1, creation_time=NOON, end_time=NOON, details=details))
    return harness.poll()


def sent(status: EventStatus, operation: EventOperation = EventOperation.SEND) -> EventSummary:
    return EventSummary(counts={(operation, status): 1}, size_bytes={})


def test_a_session_counts_by_its_details_while_its_extras_are_overdue() -> None:
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, "2 items processed")

    waiting = [restored(harness.poll()) for _ in range(3)]
    decided = restored(settle(harness, statistics=Statistics(restored=0)))

    assert waiting == [{VEX: end(2)}, {VEX: end(2)}, {VEX: NOON}]
    assert decided == {VEX: end(2)}


@pytest.mark.parametrize("away_hours", [0, 3], ids=["stored", "past its lookback"])
@pytest.mark.parametrize(
    "received", [{"statistics": Statistics(restored=0)}, {"events": sent(EventStatus.FAILED)}]
)
def test_extras_received_while_a_session_ran_do_not_decide(
    received: dict[str, Statistics | EventSummary], away_hours: int
) -> None:
    harness = harness_with(extras=BOTH, lookback=3600.0)
    harness.hold(running(1, creation_time=NOON))
    harness.poll()
    settle(harness, **received)
    harness.seconds += away_hours * 3600
    harness.hold(finished(1, creation_time=NOON, end_time=NOON, details="2 items processed"))

    snapshots = [harness.poll() for _ in range(5)]

    assert restored(snapshots[-1]) == {VEX: NOON}


@pytest.mark.parametrize("seen_running", [True, False])
@pytest.mark.parametrize(
    ("details", "statistics", "counts"),
    [
        ("2 items processed", Statistics(restored=2), True),
        ("2 items processed", Statistics(restored=0, failed=2), False),
        ("2 items processed", None, True),
        ("0 items processed", Statistics(restored=1), True),
        ("0 items processed", None, False),
    ],
)
def test_a_finished_session_counts_once_its_extras_decide(
    details: str, statistics: Statistics | None, *, counts: bool, seen_running: bool
) -> None:
    harness = harness_with(proof(2), extras=STATISTICS)

    waiting = restored(finish(harness, details, seen_running=seen_running))
    decided = restored(settle(harness, statistics=statistics))

    assert (waiting, decided) == ({VEX: end(2)}, {VEX: NOON if counts else end(2)})


@pytest.mark.parametrize(
    ("statistics", "events", "counts"),
    [
        (Statistics(restored=0), sent(EventStatus.SUCCESS), True),
        (Statistics(restored=0), sent(EventStatus.FAILED), False),
        (Statistics(restored=0), sent(EventStatus.SUCCESS, EventOperation.VIEW), False),
        (None, sent(EventStatus.WARNING), True),
        (Statistics(restored=1), None, True),
        (None, None, True),
    ],
)
def test_a_session_counts_when_the_last_of_its_extras_is_final(
    statistics: Statistics | None, events: EventSummary | None, *, counts: bool
) -> None:
    harness = harness_with(proof(2), extras=BOTH)
    finish(harness, "2 items processed")

    first = restored(settle(harness, statistics=statistics))
    last = restored(settle(harness, events=events))

    assert (first, last) == ({VEX: end(2)}, {VEX: NOON if counts else end(2)})


@pytest.mark.parametrize(
    ("details", "extras", "counts"),
    [
        ("2 items processed", {"statistics": Statistics(restored=0)}, False),
        ("0 items processed", {"statistics": Statistics(restored=2)}, True),
        ("0 items processed", {"events": sent(EventStatus.SUCCESS)}, True),
    ],
)
def test_the_verdict_of_extras_outlives_the_lookback(
    details: str, extras: dict[str, Statistics | EventSummary], *, counts: bool
) -> None:
    harness = harness_with(proof(2), extras=extras)
    finish(harness, details)
    settle(harness, **extras)

    for _ in range(3):
        snapshot = harness.poll(8 * DAY_SECONDS)

    assert snapshot.sessions_known == 0
    assert restored(snapshot) == {VEX: NOON if counts else end(2)}


def leave(harness: LedgerHarness, how: str) -> None:
    """Let all sessions leave the store and return."""
    if how == "deleted":
        sessions, harness.server = harness.server, {}
        for _ in range(3):
            harness.poll(HOUR_SECONDS)
        harness.server = sessions
    else:
        harness.server_ahead_seconds = 30 * DAY_SECONDS
        for _ in range(3):
            harness.poll()
        harness.server_ahead_seconds = 0.0
    assert harness.snapshot().sessions_known == 0
    harness.poll(HOUR_SECONDS)
    harness.poll(HOUR_SECONDS)
    assert harness.snapshot().sessions_known == 2


@pytest.mark.parametrize("how", ["deleted", "clock ahead"])
@pytest.mark.parametrize(
    ("details", "statistics", "counts"),
    [
        ("2 items processed", Statistics(restored=0), False),
        ("0 items processed", Statistics(restored=2), True),
    ],
)
def test_a_session_that_returns_has_its_verdict_and_its_final_extras_are_requested_again(
    details: str, statistics: Statistics, how: str, *, counts: bool
) -> None:
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, details)
    settle(harness, statistics=statistics)

    leave(harness, how)
    returned = restored(harness.snapshot())
    due = harness.ledger.extras.due()
    settled = settle(harness, statistics=statistics)

    expected = {VEX: NOON if counts else end(2)}
    assert (returned, restored(settled)) == (expected, expected)
    assert due == (ExtraRequest(session_id=session_id(1), extra="statistics"),)
    assert harness.ledger.extras.due() == ()
    (block,) = settled.finished
    assert {one.id: one.statistics for one in block.sessions}[session_id(1)] == statistics
    assert sum(settled.activity.restored_items.values()) == statistics.restored


@pytest.mark.parametrize("how", ["deleted", "clock ahead"])
def test_a_session_that_returned_is_judged_by_extras_that_differ_from_the_earlier_ones(
    how: str,
) -> None:
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, "2 items processed")
    settle(harness, statistics=Statistics(restored=0))
    leave(harness, how)

    decided = restored(settle(harness, statistics=Statistics(restored=2)))

    assert decided == {VEX: NOON}


def test_a_session_that_finishes_again_is_not_judged_by_its_earlier_extras() -> None:
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, "2 items processed")
    settle(harness, statistics=Statistics(restored=0))
    harness.hold(running(1, creation_time=NOON))
    harness.poll()

    finish(harness, "2 items processed", seen_running=False)
    decided = settle(harness, statistics=None)

    assert restored(decided) == {VEX: NOON}


@pytest.mark.parametrize(
    ("again", "counts"), [(Statistics(restored=3), True), (Statistics(restored=0), False)]
)
@pytest.mark.parametrize("first", [Statistics(restored=0), Statistics(restored=1)])
def test_a_session_that_ends_again_between_two_polls_is_judged_by_its_new_extras(
    first: Statistics, again: Statistics, *, counts: bool
) -> None:
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, "1 item processed")
    settle(harness, statistics=first)
    ended = NOON + timedelta(minutes=5)

    harness.hold(finished(1, creation_time=NOON, end_time=ended, details="2 items processed"))
    awaited = harness.poll()
    decided = settle(harness, statistics=again)

    assert restored(awaited) == {VEX: end(2)}
    assert restored(decided) == {VEX: ended if counts else end(2)}


@pytest.mark.parametrize("details", ["0 items processed", "2 items processed"])
def test_a_verdict_of_extras_does_not_hold_for_another_end(details: str) -> None:
    """A session that is no longer stored has no extras of its last end."""
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, details)
    proves = details == "2 items processed"
    settle(harness, statistics=Statistics(restored=0 if proves else 2))
    harness.poll(8 * DAY_SECONDS)
    assert harness.poll().sessions_known == 0
    ended = NOON + timedelta(minutes=5)
    harness.hold(finished(1, creation_time=NOON, end_time=ended, details=details))

    assert restored(harness.poll(HOUR_SECONDS)) == {VEX: ended if proves else end(2)}


def test_the_verdicts_of_the_last_10000_sessions_are_kept() -> None:
    proofs = ProvenRestores(list, have_extras=True)
    session = finished(details="0 items processed", statistics=Statistics(restored=1))
    sessions = [
        session._replace(id=str(second), end_time=NOON + timedelta(seconds=second))
        for second in range(10_001)
    ]
    for session in sessions:
        proofs.add_other(session)

    proofs.begin_full_list()
    proofs.add_other(sessions[1]._replace(statistics=None))
    proofs.end_full_list(is_complete=True)
    kept = dict(proofs.ends)
    proofs.begin_full_list()
    proofs.add_other(sessions[0]._replace(statistics=None))
    proofs.end_full_list(is_complete=True)

    assert kept == {VEX: NOON + timedelta(seconds=1)}
    assert proofs.ends == {}


@pytest.mark.parametrize(
    ("details", "statistics", "ends"),
    [
        ("0 items processed", Statistics(restored=1), {VEX: NOON}),
        ("2 items processed", Statistics(restored=0), {}),
    ],
)
def test_the_verdict_of_extras_is_kept_although_a_newer_session_proves_a_restore(
    details: str, statistics: Statistics, ends: dict[StartedKey, datetime]
) -> None:
    proofs = ProvenRestores(list, have_extras=True)
    older = finished(1, end_time=NOON, details=details, statistics=statistics)
    proofs.add_other(finished(2, end_time=NOON + timedelta(1), details="1 item processed"))
    proofs.add_other(older)

    proofs.begin_full_list()
    proofs.add_other(older._replace(statistics=None))
    proofs.end_full_list(is_complete=True)

    assert proofs.ends == ends


def test_a_later_verdict_of_extras_replaces_the_earlier_one() -> None:
    proofs = ProvenRestores(list, have_extras=True)
    session = finished(1, details="0 items processed")
    proofs.add_other(session._replace(statistics=Statistics(restored=1)))
    proofs.add_other(session._replace(statistics=Statistics(restored=0)))

    proofs.begin_full_list()
    proofs.add_other(session)
    proofs.end_full_list(is_complete=True)

    assert proofs.ends == {}


def test_a_session_that_counted_is_judged_again_by_its_extras() -> None:
    counted = finished(details="2 items processed")
    judged = counted._replace(statistics=Statistics(restored=0))
    proofs = ProvenRestores(lambda: [judged], have_extras=True)
    proofs.add(counted)
    before = dict(proofs.ends)

    proofs.settle(counted.id, judged)

    assert (before, proofs.ends) == ({VEX: counted.end_time}, {})


def test_a_session_from_before_the_exporter_started_is_judged_by_its_details() -> None:
    harness = harness_with(proof(2), proof(1, details="0 items processed"), extras=BOTH)

    assert restored(harness.poll()) == {VEX: end(2)}


def reopened_while_awaited() -> tuple[LedgerHarness, datetime]:
    """A session that was reopened while its extras were awaited, and its second end, which no poll has shown yet."""
    harness = harness_with(proof(2), extras=STATISTICS)
    finish(harness, "2 items processed")
    harness.hold(running(1, creation_time=NOON))
    harness.ledger.resync.request_by_id([session_id(1)])
    harness.poll()
    later = NOON + timedelta(minutes=5)
    harness.hold(finished(1, creation_time=NOON, end_time=later, details="2 items processed"))
    return harness, later


def test_a_session_that_is_reopened_while_its_extras_are_awaited_can_prove_a_restore_later() -> (
    None
):
    harness, later = reopened_while_awaited()
    waiting = restored(harness.poll())

    decided = restored(settle(harness, statistics=Statistics(restored=1)))

    assert (waiting, decided) == ({VEX: end(2)}, {VEX: later})


def test_extras_of_a_session_that_was_reopened_are_overdue_as_long_after_its_second_end() -> None:
    harness, later = reopened_while_awaited()

    waiting = [restored(harness.poll(seconds)) for seconds in (120.0, 120.0, 60.0)]

    assert waiting == [{VEX: end(2)}, {VEX: end(2)}, {VEX: later}]


def test_an_end_ahead_of_the_servers_time_counts_only_from_that_time_on() -> None:
    ahead = proof(1)._replace(id=session_id(9), end_time=NOON + timedelta(hours=1))
    harness = harness_with(proof(2), ahead)

    early = restored(harness.poll())
    due = restored(harness.poll(HOUR_SECONDS))

    assert (early, due) == ({VEX: end(2)}, {VEX: ahead.end_time})


def test_an_evicted_session_that_ends_ahead_does_not_count() -> None:
    ahead = proof(3)._replace(end_time=NOON + timedelta(days=300))
    harness = harness_with(proof(1), proof(2), ahead, max_sessions=2)

    assert restored(harness.poll()) == {VEX: end(1)}


@pytest.mark.parametrize("lookback", [7 * DAY_SECONDS, HOUR_SECONDS])
def test_an_end_that_a_corrected_clock_puts_ahead_does_not_count_until_its_time(
    lookback: float,
) -> None:
    ahead = proof(1)._replace(id=session_id(9), end_time=NOON + timedelta(hours=10))
    harness = harness_with(proof(2), ahead, lookback=lookback)
    harness.server_ahead_seconds = 15 * HOUR_SECONDS
    wrong = restored(harness.poll())

    harness.server_ahead_seconds = 0.0
    corrected = [restored(harness.poll()) for _ in range(2)]
    due = restored(harness.poll(10 * HOUR_SECONDS))

    assert wrong == {VEX: ahead.end_time}
    assert corrected == [{VEX: end(2)}] * 2
    assert due == {VEX: ahead.end_time}
