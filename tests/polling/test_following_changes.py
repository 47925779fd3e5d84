"""How a poller applies change-feed events between polls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.polling.changefeed import PendingChanges
from exporter.polling.snapshot import ConfiguredId, Snapshot
from exporter.vb365.errors import ConnectError, RequestTimeoutError
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Page, RestoreSession, SessionResult, SessionState
from support.ledger_harness import sessions_config, shown_ids
from support.poller_harness import PollerHarness, server_error
from support.sample_sessions import NOON, finished, running, session_id


def update(minutes: int, e_tag: int | None = None) -> SessionChange:
    return SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(minutes), e_tag=e_tag)


def delete(minutes: int) -> SessionChange:
    return SessionChange(kind=ChangeKind.DELETE, session_id=session_id(minutes))


def failed(session: RestoreSession, **changes: Any) -> RestoreSession:
    stopped = {
        "state": SessionState.STOPPED,
        "result": SessionResult.FAILED,
        "end_time": NOON,
        "details": "0 items processed",
        **changes,
    }
    return session._replace(**stopped)


def finished_count(snapshot: Snapshot) -> int:
    return sum(snapshot.activity.finished.values())


def test_an_update_fetches_exactly_the_session_it_names() -> None:
    harness = PollerHarness(running(60), running(50), finished(1))
    harness.poll()
    harness.api.sessions[session_id(60)] = failed(running(60))

    snapshot = harness.apply_changes(update(60))

    assert harness.api.calls == [f"get {session_id(60)}"]
    assert [one.session.id for one in snapshot.running] == [session_id(50)]
    assert finished_count(snapshot) == 1


def test_an_update_that_is_known_already_makes_no_request() -> None:
    harness = PollerHarness(running(60, e_tag=7))
    harness.poll()

    harness.apply_changes(update(60, e_tag=7))

    assert harness.api.calls == []


@pytest.mark.parametrize("changes", [1, 60])
def test_a_change_that_the_server_does_not_show_yet_is_fetched_by_the_next_poll(
    changes: int,
) -> None:
    reopened = running(100, e_tag=2)
    harness = PollerHarness(finished(100, e_tag=1), running(60))
    harness.poll()

    harness.apply_changes(*[update(100, e_tag=2)] * changes)
    harness.api.sessions[reopened.id] = reopened
    snapshot = harness.poll()

    assert [one.session.id for one in snapshot.running] == [session_id(60), reopened.id]


def test_a_change_of_an_expired_session_that_is_not_shown_yet_is_fetched_by_the_next_poll() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(lookback=3600.0))
    expired = finished(600)
    harness.api.sessions[expired.id] = expired
    harness.poll()

    harness.apply_changes(update(600, e_tag=2))
    harness.api.sessions[expired.id] = running(600, e_tag=2)
    snapshot = harness.poll()

    assert [one.session.id for one in snapshot.running] == [session_id(60), expired.id]


def test_a_change_that_is_not_shown_yet_is_fetched_even_if_the_session_expires_meanwhile() -> None:
    ending = finished(100, e_tag=1, end_time=NOON)
    harness = PollerHarness(ending, running(60), follow=sessions_config(lookback=90.0))
    assert ending.id in shown_ids(harness.poll())

    harness.apply_changes(update(100, e_tag=2))
    harness.api.sessions[ending.id] = running(100, e_tag=2)
    snapshot = harness.poll()

    assert [one.session.id for one in snapshot.running] == [session_id(60), ending.id]


def test_a_deletion_that_the_server_does_not_show_yet_is_verified_by_the_next_poll() -> None:
    harness = PollerHarness(finished(100), running(60))
    harness.poll()

    harness.apply_changes(delete(100))
    del harness.api.sessions[session_id(100)]

    assert shown_ids(harness.poll()) == [session_id(60)]


def test_deletions_in_a_row_that_the_server_shows_late_are_all_verified() -> None:
    harness = PollerHarness(*map(finished, (70, 80, 90, 100, 200)), running(60))
    harness.poll()

    harness.apply_changes(delete(100))
    harness.apply_changes(delete(200))
    del harness.api.sessions[session_id(100)], harness.api.sessions[session_id(200)]

    assert shown_ids(harness.poll()) == [session_id(number) for number in (60, 70, 80, 90)]


def test_changes_that_the_server_shows_after_the_next_poll_are_fetched() -> None:
    reopened = [running(100, e_tag=2), running(200, e_tag=2)]
    harness = PollerHarness(finished(100, e_tag=1), finished(200, e_tag=1), running(60))
    harness.poll()

    harness.apply_changes(update(100, e_tag=2), update(200, e_tag=2))
    harness.clock.seconds -= 50
    harness.poll()
    harness.api.sessions |= {one.id: one for one in reopened}
    snapshot = harness.poll()

    assert [one.session.id for one in snapshot.running] == [
        session_id(number) for number in (60, 100, 200)
    ]


@pytest.mark.parametrize(
    ("seconds_between_polls", "expected"),
    [(60, [True, False, False]), (20, [True, True, True, False]), (600, [True, False])],
)
@pytest.mark.parametrize("change", [update(100, e_tag=2), delete(100)])
def test_a_change_that_the_server_never_shows_is_fetched_for_a_minute_and_by_one_poll_at_least(
    change: SessionChange, seconds_between_polls: int, expected: list[bool]
) -> None:
    harness = PollerHarness(finished(100, e_tag=1), running(60))
    harness.poll()

    harness.apply_changes(change)
    polls = []
    for _ in expected:
        harness.clock.seconds += seconds_between_polls - 60
        harness.poll()
        polls.append(f"get {session_id(100)}" in harness.api.calls)

    assert polls == expected


def test_a_change_that_the_server_shows_is_not_fetched_again() -> None:
    harness = PollerHarness(finished(100, e_tag=1), running(60))
    harness.poll()
    harness.api.sessions[session_id(100)] = finished(100, e_tag=2)

    harness.apply_changes(update(100, e_tag=2))
    harness.poll()

    assert f"get {session_id(100)}" not in harness.api.calls


def test_a_new_session_is_shown_and_counted_once() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    new = running(1, creation_time=harness.clock.now().wall)
    harness.api.sessions[new.id] = new

    followed = harness.apply_changes(update(1))
    polled = harness.poll()

    assert session_id(1) in shown_ids(followed)
    assert sum(followed.activity.started.values()) == 1
    assert sum(polled.activity.started.values()) == 1


def test_a_finish_found_through_the_feed_is_not_counted_again_by_the_next_poll() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    harness.api.sessions[session_id(60)] = failed(running(60))

    harness.apply_changes(update(60))
    polled = harness.poll()

    assert finished_count(polled) == 1


def test_a_deletion_is_believed_after_a_404_and_a_list_that_agrees() -> None:
    harness = PollerHarness(running(60), finished(50), finished(1), finished(2))
    harness.poll()
    del harness.api.sessions[session_id(60)], harness.api.sessions[session_id(50)]

    snapshot = harness.apply_changes(delete(60), delete(50))

    assert harness.api.calls == [
        "list",
        f"get {session_id(60)}",
        f"get {session_id(50)}",
        "list",
    ]
    assert shown_ids(snapshot) == [session_id(1), session_id(2)]
    assert snapshot.status.up is True


def test_deletions_that_are_reported_again_and_again_wait_for_the_next_poll() -> None:
    harness = PollerHarness(running(60), finished(100), finished(1))
    harness.poll()
    for _ in range(3):
        harness.apply_changes(delete(100))
        assert "list" in harness.api.calls

    for _ in range(3):
        harness.apply_changes(delete(100))
        assert harness.api.calls == []

    harness.poll()
    assert f"get {session_id(100)}" in harness.api.calls


def test_however_often_the_deletion_of_a_session_that_exists_is_reported_it_is_counted_once() -> (
    None
):
    harness = PollerHarness(finished(100))
    harness.poll()
    now = harness.clock.now().wall
    new = finished(1, creation_time=now, end_time=now + timedelta(seconds=30))
    harness.api.sessions[new.id] = new
    before = harness.poll()

    for _ in range(3):
        harness.apply_changes(delete(1), update(1))
        harness.apply_changes(delete(1))
        after = harness.poll()

    assert shown_ids(after) == shown_ids(before)
    assert after.activity == before.activity
    assert finished_count(after) == 1


def test_a_deleted_session_with_a_configured_id_is_shown_as_not_found() -> None:
    harness = PollerHarness(running(60), follow=sessions_config([session_id(60)]))
    harness.poll()
    del harness.api.sessions[session_id(60)]

    snapshot = harness.apply_changes(delete(60))

    assert snapshot.configured_ids == (
        ConfiguredId(
            session_id=session_id(60), found=False, confirmed_at=harness.clock.monotonic()
        ),
    )


def test_a_deletion_of_a_session_that_is_not_stored_is_ignored() -> None:
    harness = PollerHarness(finished(1))
    harness.poll()

    harness.apply_changes(delete(7))
    assert harness.api.calls == []
    harness.poll()

    assert f"get {session_id(7)}" not in harness.api.calls


def test_more_deletions_than_are_remembered_are_found_by_full_lists() -> None:
    harness = PollerHarness(*(finished(number) for number in range(1, 401)))
    harness.poll()
    gone = range(200, 350)
    for number in gone:
        del harness.api.sessions[session_id(number)]

    snapshot = harness.apply_changes(*map(delete, gone))

    # The list and the 404s of the 100 that are remembered agree; another list has to agree on so many others.
    assert len(shown_ids(snapshot)) == 300
    assert snapshot.status.up is True
    snapshot = harness.poll()
    assert len(shown_ids(snapshot)) == 250
    assert snapshot.status.up is True


def test_the_full_list_after_lost_deletions_is_requested_once() -> None:
    harness = PollerHarness(*(finished(number) for number in range(1, 401)))
    harness.poll()
    harness.apply_changes(*map(delete, range(200, 350)))
    full_lists = []

    def listed(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:  # noqa: ARG001 - as the API has it
        if created_since is None:
            full_lists.append(harness.clock.monotonic())
        yield Page(sessions=tuple(harness.api.sessions.values()), rejections=())

    harness.api.list_sessions = listed  # type: ignore[method-assign] # to see what is listed
    for _ in range(30):
        harness.poll()

    assert len(full_lists) <= 1


def test_a_finished_session_that_was_fetched_between_polls_is_not_fetched_by_the_next() -> None:
    harness = PollerHarness(running(60), finished(100))
    harness.poll()
    harness.api.sessions[session_id(100)] = finished(100, details="corrected")

    harness.apply_changes(update(100))
    harness.poll()

    assert f"get {session_id(100)}" not in harness.api.calls


def test_a_deletion_that_no_longer_fits_among_those_remembered_is_found_by_the_next_poll() -> None:
    remembered = range(1, 101)
    harness = PollerHarness(*map(finished, remembered), finished(1400))
    harness.poll()
    harness.ledger.resync.request_by_id(map(session_id, remembered))
    del harness.api.sessions[session_id(1400)]

    snapshot = harness.apply_changes(delete(1400))

    assert sorted(shown_ids(snapshot)) == sorted(map(session_id, remembered))


def test_a_session_that_is_not_followed_is_not_fetched() -> None:
    harness = PollerHarness(running(60), follow=sessions_config([session_id(60)], discover=False))
    harness.poll()

    harness.apply_changes(update(50), update(60))

    assert harness.api.calls == [f"get {session_id(60)}"]


def test_a_failed_request_is_left_to_the_next_poll() -> None:
    harness = PollerHarness(
        finished(100), finished(1)
    )  # the older one is not in the lists of later polls
    harness.poll()
    harness.api.get_errors[session_id(100)] = server_error("get")

    followed = harness.apply_changes(update(100))
    harness.api.get_errors.clear()
    harness.poll()

    assert followed.status.up
    assert f"get {session_id(100)}" in harness.api.calls


def test_a_404_between_polls_is_believed_only_by_the_next_poll() -> None:
    harness = PollerHarness(finished(100), finished(1))
    harness.poll()
    del harness.api.sessions[session_id(100)]

    followed = harness.apply_changes(update(100))
    polled = harness.poll()

    assert session_id(100) in shown_ids(followed)
    assert session_id(100) not in shown_ids(polled)


def test_applying_changes_does_not_count_as_a_poll() -> None:
    harness = PollerHarness(running(60))
    before = harness.poll()
    harness.api.get_errors[session_id(60)] = ConnectError("refused", operation="get")

    snapshot = harness.apply_changes(update(60))

    assert snapshot.status == before.status
    assert len(harness.counts.polls) == 1


def test_fifty_changes_are_left_to_one_poll_and_fewer_are_fetched_by_id() -> None:
    harness = PollerHarness(*[finished(minutes) for minutes in range(1, 51)])
    harness.poll()

    harness.apply_changes(*[update(minutes, e_tag=1) for minutes in range(1, 50)])
    assert len(harness.api.calls) == 49
    assert "list" not in harness.api.calls
    harness.apply_changes(*[update(minutes, e_tag=2) for minutes in range(1, 51)])

    assert "list" in harness.api.calls
    assert len(harness.counts.polls) == 2


def test_extras_of_a_session_that_goes_on_are_left_to_the_polls() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    harness.poll()
    harness.api.sessions[session_id(60)] = running(60, details="2 items processed")

    harness.apply_changes(update(60))

    assert harness.api.calls == [f"get {session_id(60)}"]


def test_extras_of_a_session_that_finished_are_fetched_with_it() -> None:
    harness = PollerHarness(running(60), running(50), follow=sessions_config(extras=["statistics"]))
    harness.poll()
    harness.api.sessions[session_id(60)] = failed(
        running(60), end_time=NOON, details="5 items processed"
    )
    harness.api.statistics_of[session_id(60)] = Statistics(restored=3, failed=2)

    harness.apply_changes(update(60))

    assert harness.api.calls == [f"get {session_id(60)}", f"statistics {session_id(60)}"]
    assert harness.recorded[-1].statistics == Statistics(restored=3, failed=2)


def test_an_unexpected_error_is_logged_and_the_known_state_is_published() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    published = len(harness.published)

    def broken(session_id: str, **_arguments: object) -> RestoreSession:  # noqa: ARG001 - as the API has it
        raise RuntimeError("a defect")

    harness.api.get_session = broken  # type: ignore[method-assign] # a defect no answer makes
    with capture_logs() as logs:
        harness.apply_changes(update(60))

    assert logs == [
        {
            "event": "applying change-feed events failed, next poll retries",
            "server": "hq",
            "exc_info": True,
            "log_level": "error",
        }
    ]
    assert len(harness.published) == published + 1


def test_after_changes_that_could_not_be_applied_the_next_poll_finds_deletions() -> None:
    harness = PollerHarness(running(60), finished(100))
    harness.poll()
    get_session = harness.api.get_session

    def broken(session_id: str, **_arguments: object) -> RestoreSession:  # noqa: ARG001 - as the API has it
        raise RuntimeError("a defect")

    harness.api.get_session = broken  # type: ignore[method-assign] # a defect no answer makes
    with capture_logs():
        harness.apply_changes(update(60))
    del harness.api.sessions[session_id(100)]

    snapshot = harness.poll(get_session=get_session)

    assert shown_ids(snapshot) == [session_id(60)]


def test_events_that_cannot_be_processed_do_not_end_the_loop_while_extras_are_due() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    harness.poll()
    harness.api.sessions[session_id(60)] = failed(running(60))
    harness.poll(statistics_of={session_id(60): server_error("statistics")})
    published = len(harness.published)

    class Unreadable(tuple[SessionChange, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[SessionChange]:
            raise RuntimeError("a defect")

    with capture_logs():
        harness.loop.apply(PendingChanges(changes=Unreadable([delete(60)])))

    assert len(harness.published) == published + 1


# The limits of what the feed may cause


def unknown(numbers: Iterable[int], e_tag: int = 1) -> list[SessionChange]:
    """Updates of sessions that the server does not have."""
    return [update(10_000 + number, e_tag=e_tag) for number in numbers]


def gets(harness: PollerHarness) -> int:
    return sum(call.startswith("get ") for call in harness.api.calls)


def test_unknown_sessions_are_fetched_once_until_the_next_poll() -> None:
    harness = PollerHarness(running(60))
    harness.poll()

    fetched = []
    for e_tag in range(1, 5):
        harness.apply_changes(*unknown(range(3), e_tag))
        fetched.append(gets(harness))
    harness.poll()
    harness.apply_changes(*unknown(range(3)))

    assert fetched == [3, 0, 0, 0]
    assert gets(harness) == 3


def test_a_session_that_stays_unknown_is_not_counted_as_left_out() -> None:
    harness = PollerHarness(running(60))
    harness.poll()

    for _ in range(30):
        harness.apply_changes(update(99))

    assert gets(harness) == 0
    assert harness.counts.rejections == []


def test_a_session_that_changes_every_second_is_fetched_every_second() -> None:
    harness = PollerHarness(running(60))
    harness.poll()

    fetched = []
    for e_tag in range(1, 5):
        harness.apply_changes(update(60, e_tag))
        fetched.append(gets(harness))

    assert fetched == [1, 1, 1, 1]


def use_up_polls(harness: PollerHarness) -> None:
    """Report so many sessions that the feed may cause no more polls."""
    for first in (0, 60, 120):
        harness.apply_changes(*unknown(range(first, first + 60)))


def test_the_feed_causes_three_polls_and_then_five_requests_a_second() -> None:
    harness = PollerHarness(running(60))
    harness.poll()

    requests = []
    for second in range(7):
        harness.apply_changes(*unknown(range(60 * second, 60 * second + 60)))
        requests.append((harness.api.calls.count("list"), gets(harness)))

    assert requests == [(1, 0)] * 3 + [(0, 50)] + [(0, 5)] * 3


def test_the_feed_may_cause_another_poll_after_a_poll_interval() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    use_up_polls(harness)

    polls = []
    for first in (200, 300, 400):
        harness.clock.seconds += 30.0
        harness.apply_changes(*unknown(range(first, first + 60)))
        polls.append("list" in harness.api.calls)

    assert polls == [False, True, False]


def test_known_sessions_are_fetched_before_unknown_ones() -> None:
    harness = PollerHarness(*[running(number) for number in range(1, 41)])
    harness.poll()

    changes = [*unknown(range(200, 240)), *(update(number, e_tag=1) for number in range(1, 41))]
    use_up_polls(harness)
    harness.apply_changes(*changes)

    fetched = [call.split()[1] for call in harness.api.calls]
    assert len(fetched) == 50
    assert {session_id(number) for number in range(1, 41)} <= set(fetched)


def test_unknown_sessions_beyond_the_limits_are_counted_and_not_remembered() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    use_up_polls(harness)

    with capture_logs() as logs:
        harness.apply_changes(*unknown(range(1000, 3000)))
        harness.apply_changes(*unknown(range(3000, 5000)))
    harness.poll()

    assert harness.counts.rejections == [RejectionReason.TOO_MANY] * (1950 + 1995)
    assert [entry for entry in logs if "left_out" in entry] == [
        {
            "event": "change feed reports more sessions than are fetched between polls, lists find new ones",
            "server": "hq",
            "left_out": 1950,
            "log_level": "warning",
        }
    ]
    assert gets(harness) == 0


def test_of_many_changed_sessions_a_hundred_are_remembered_for_the_next_poll() -> None:
    harness = PollerHarness(*[finished(1000 + number) for number in range(300)], finished(1))
    harness.poll()
    use_up_polls(harness)

    harness.apply_changes(*[update(1000 + number, e_tag=1) for number in range(300)])
    assert gets(harness) == 50
    left_out = len(harness.counts.rejections)
    harness.poll()

    assert left_out == 200
    assert harness.api.calls == ["list", "list"]  # the second is cheaper than a hundred requests


def test_changed_sessions_that_the_poll_for_many_changes_leaves_out_are_counted() -> None:
    harness = PollerHarness(*[finished(1000 + number) for number in range(300)], finished(1))
    harness.poll()

    harness.apply_changes(*[update(1000 + number, e_tag=1) for number in range(300)])

    assert harness.counts.rejections == [RejectionReason.TOO_MANY] * 200


def test_an_unknown_session_that_cannot_be_fetched_is_left_to_the_next_poll() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    harness.api.get_errors[session_id(99)] = server_error("get")

    harness.apply_changes(update(99))
    harness.poll(get_errors={})

    assert harness.api.calls[-1] == f"get {session_id(99)}"


def test_new_sessions_beyond_the_limits_are_found_by_the_next_poll() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    use_up_polls(harness)
    now = harness.clock.now().wall
    new = [running(number, creation_time=now) for number in range(100, 400)]
    harness.api.sessions |= {session.id: session for session in new}

    harness.apply_changes(*[update(number) for number in range(100, 400)])
    snapshot = harness.poll()

    assert sum(snapshot.activity.started.values()) == 300


def test_a_feed_that_keeps_losing_changes_causes_a_full_list_in_ten_minutes() -> None:
    harness = PollerHarness(running(60))
    harness.poll()
    full_lists = []

    def listed(*, created_since: datetime | None, page_size: int) -> Iterator[Page]:  # noqa: ARG001 - as the API has it
        if created_since is None:
            full_lists.append(harness.clock.monotonic())
        yield Page(sessions=(running(60),), rejections=())

    harness.api.list_sessions = listed  # type: ignore[method-assign] # to see what is listed
    first = harness.clock.monotonic()
    for _ in range(20):
        harness.loop.apply(PendingChanges(gap=True, lost=True))
        harness.poll()

    assert [at - first for at in full_lists] == [0.0, 600.0, 1200.0]


def test_requests_for_changes_end_before_the_next_poll() -> None:
    harness = PollerHarness(running(60), running(50))
    harness.poll()
    ends: list[float] = []

    def get_session(session_id: str, *, until: float = inf) -> RestoreSession:
        ends.append(until)
        return harness.api.sessions[session_id]

    harness.api.get_session = get_session  # type: ignore[method-assign] # to see the time it has
    due = harness.clock.monotonic() + 2.0
    harness.loop.apply(PendingChanges(changes=(update(60),)), next_poll_at=due)
    harness.clock.seconds += 1.5
    harness.loop.apply(PendingChanges(changes=(update(50),)), next_poll_at=due)

    assert ends == [due - 1.0]


def test_after_a_time_out_no_more_changed_sessions_are_fetched() -> None:
    numbers = range(1, 41)
    harness = PollerHarness(*map(running, numbers), max_concurrent_requests=1)
    harness.poll()
    timeout = RequestTimeoutError("took too long", operation="get")
    harness.api.get_errors = {session_id(number): timeout for number in numbers}

    harness.apply_changes(*[update(number, e_tag=1) for number in numbers])

    assert gets(harness) == 1
