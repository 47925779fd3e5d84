"""How a poller applies change-feed events between polls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from structlog.testing import capture_logs

from exporter.polling.snapshot import ConfiguredId, Snapshot
from exporter.vb365.errors import ConnectError, NotFoundError
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionState
from support.ledger_harness import sessions_config, shown_ids
from support.poller_harness import PollerHarness, server_error
from support.sample_sessions import finished, running, session_id


def update(minutes: int, e_tag: int | None = None) -> SessionChange:
    return SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(minutes), e_tag=e_tag)


def delete(minutes: int) -> SessionChange:
    return SessionChange(kind=ChangeKind.DELETE, session_id=session_id(minutes))


def failed(session: RestoreSession, **changes: Any) -> RestoreSession:
    stopped = {"state": SessionState.STOPPED, "result": SessionResult.FAILED, **changes}
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


def test_a_deleted_session_ends_at_once_without_a_request() -> None:
    harness = PollerHarness(running(60), finished(1))
    harness.poll()

    snapshot = harness.apply_changes(delete(60), delete(1))

    assert harness.api.calls == []
    assert shown_ids(snapshot) == []


def test_a_deleted_session_with_a_configured_id_is_shown_as_not_found() -> None:
    harness = PollerHarness(running(60), follow=sessions_config([session_id(60)]))
    harness.poll()

    snapshot = harness.apply_changes(delete(60))

    assert snapshot.configured_ids == (
        ConfiguredId(
            session_id=session_id(60), found=False, confirmed_at=harness.clock.monotonic()
        ),
    )


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
    harness.api.get_errors[session_id(100)] = NotFoundError(
        "not found", operation="get", status=404
    )

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
    harness.api.sessions[session_id(60)] = failed(running(60))
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
        harness.poller.apply_changes(Unreadable())

    assert len(harness.published) == published + 1
