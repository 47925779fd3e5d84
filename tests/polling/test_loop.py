from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from structlog.testing import capture_logs

from exporter.polling.changefeed import ChangeQueue, PendingChanges
from exporter.vb365.errors import Reason, ServerError
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Page
from support.ledger_harness import sessions_config, shown_ids
from support.poller_harness import PollerHarness
from support.sample_sessions import finished, running, session_id


class PassingQueue(ChangeQueue):
    """A queue on which waiting takes no time; it calls `after_wait` after each wait."""

    def __init__(
        self, harness: PollerHarness, after_wait: Callable[[PassingQueue], object]
    ) -> None:
        super().__init__()
        self._harness = harness
        self._after_wait = after_wait
        self.waits: list[float] = []

    def wait(self, seconds: float) -> PendingChanges:
        self.waits.append(seconds)
        pending = super().wait(0)
        if pending == PendingChanges():
            self._harness.clock.seconds += seconds
        self._after_wait(self)
        return pending


def error_log(event: str, error: Exception) -> dict[str, object]:
    return {"event": event, "server": "hq", "exc_info": error, "log_level": "error"}


def stopping_after(waits: int, harness: PollerHarness) -> Callable[[PassingQueue], object]:
    def stop(queue: PassingQueue) -> None:
        if len(queue.waits) == waits:
            harness.stop.set()

    return stop


def test_polls_follow_each_other_until_stopped_and_overruns_are_counted() -> None:
    harness = PollerHarness(finished(1))
    queue = PassingQueue(harness, stopping_after(4, harness))
    slow = iter([0.0, 90.0, 60.0, 0.0])
    list_sessions = harness.api.list_sessions

    def listed(**arguments: Any) -> Iterator[Page]:
        harness.clock.seconds += next(slow)
        return list_sessions(**arguments)

    harness.api.list_sessions = listed  # type: ignore[method-assign] # time passes while the server answers
    with capture_logs() as logs:
        harness.loop_with(queue).run()

    assert queue.waits == [60.0, 0.0, 0.0, 60.0]
    assert harness.counts.overruns == 1
    assert [entry["took_seconds"] for entry in logs if "took_seconds" in entry] == [90.0]


def test_polls_missed_while_the_process_was_suspended_are_not_caught_up() -> None:
    harness = PollerHarness()

    def freeze(queue: PassingQueue) -> None:
        if len(queue.waits) == 2:
            harness.clock.seconds += 86_400.0
        if len(queue.waits) == 5:
            harness.stop.set()

    queue = PassingQueue(harness, freeze)
    harness.loop_with(queue).run()

    assert queue.waits == [60.0, 60.0, 0.0, 60.0, 60.0]
    assert harness.counts.overruns == 0


def test_a_first_poll_that_takes_longer_than_the_first_interval_is_no_overrun() -> None:
    harness = PollerHarness()
    queue = PassingQueue(harness, stopping_after(1, harness))
    answer = harness.api.product_version

    def answered() -> str:
        harness.clock.seconds += 8.0
        return answer()

    harness.api.product_version = answered  # type: ignore[method-assign] # time passes while the server answers
    harness.loop_with(queue, first_interval_seconds=6.0).run()

    assert queue.waits == [0.0]
    assert harness.counts.overruns == 0


def test_changes_are_applied_at_once_and_the_next_poll_stays_when_it_was_due() -> None:
    harness = PollerHarness(running(60))

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            harness.clock.seconds -= 45.0  # the wait ends early
            queue.put([SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60))])
        if len(queue.waits) == 3:
            harness.stop.set()

    queue = PassingQueue(harness, change)
    harness.loop_with(queue).run()

    assert queue.waits == [60.0, 45.0, 45.0]
    assert len(harness.counts.polls) == 1
    assert harness.api.calls[-1] == f"get {session_id(60)}"


def test_extras_of_a_scheduled_poll_end_before_the_next_one() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    ends: list[float] = []
    harness.api.on_extra = lambda _session_id, until: ends.append(until)
    queue = PassingQueue(harness, stopping_after(1, harness))

    harness.loop_with(queue, first_interval_seconds=20.0).run()

    assert ends == [1019.0]


def test_extras_of_a_session_that_the_feed_shows_as_finished_end_before_the_next_poll() -> None:
    harness = PollerHarness(running(60), follow=sessions_config(extras=["statistics"]))
    ends: list[float] = []
    harness.api.on_extra = lambda _session_id, until: ends.append(until)

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            harness.clock.seconds -= 5.0  # the wait ends early
            harness.api.sessions[session_id(60)] = finished(60)
            queue.put([SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60))])
        if len(queue.waits) == 3:
            harness.stop.set()

    harness.loop_with(PassingQueue(harness, change)).run()

    assert ends == [1030.0, 1059.0]


def test_a_gap_in_the_feed_makes_a_poll() -> None:
    harness = PollerHarness()

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            harness.clock.seconds -= 45.0
            queue.mark_gap(lost=False)
        if len(queue.waits) == 3:
            harness.stop.set()

    queue = PassingQueue(harness, change)
    harness.loop_with(queue).run()

    assert len(harness.counts.polls) == 2
    assert queue.waits == [60.0, 45.0, 45.0]


def test_changes_that_did_not_fit_into_the_queue_are_counted() -> None:
    harness = PollerHarness()

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            changes = (
                SessionChange(kind=ChangeKind.DELETE, session_id=str(n)) for n in range(1002)
            )
            queue.put(changes)
        if len(queue.waits) == 3:
            harness.stop.set()

    harness.loop_with(PassingQueue(harness, change)).run()

    assert harness.counts.rejections == [RejectionReason.TOO_MANY] * 2


def test_changes_after_a_gap_are_applied_after_its_poll() -> None:
    harness = PollerHarness(running(60), finished(100))
    gone = finished(100)

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            queue.mark_gap(lost=False)
            del harness.api.sessions[gone.id]
            queue.put([SessionChange(kind=ChangeKind.DELETE, session_id=gone.id)])
        if len(queue.waits) == 3:
            harness.stop.set()

    harness.loop_with(PassingQueue(harness, change)).run()

    assert gone.id in shown_ids(harness.published[0])
    assert gone.id not in shown_ids(harness.published[-1])


def test_a_feed_that_has_lost_changes_makes_a_poll_with_a_full_list() -> None:
    harness = PollerHarness(running(60), finished(100), finished(50))
    gone = finished(100)

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            del harness.api.sessions[gone.id]
            queue.mark_gap(lost=True)
        if len(queue.waits) == 3:
            harness.stop.set()

    harness.loop_with(PassingQueue(harness, change)).run()

    assert gone.id in shown_ids(harness.published[0])
    assert gone.id not in shown_ids(harness.published[-1])


def test_after_an_exception_while_publishing_the_server_is_down_and_the_loop_goes_on() -> None:
    harness = PollerHarness(running(60))
    harness.publish_errors = [MemoryError()]
    queue = PassingQueue(harness, stopping_after(2, harness))

    with capture_logs() as logs:
        harness.loop_with(queue).run()

    assert harness.marked_down == ["poll not completed: MemoryError"]
    assert harness.counts.polls == [None, None, None]
    assert harness.counts.unpublished == 1
    assert shown_ids(harness.published[-1]) == [session_id(60)]
    assert harness.published[-1].status.up
    assert [entry["event"] for entry in logs] == [
        "first poll succeeded",
        "poll not completed, server shown as down until the next poll ends",
        "polls complete again",
    ]


def test_a_failed_poll_that_cannot_be_published_is_counted_once() -> None:
    harness = PollerHarness()
    harness.api.list_error = ServerError("answered 503", operation="list")
    harness.publish_errors = [MemoryError()]
    queue = PassingQueue(harness, stopping_after(1, harness))

    harness.loop_with(queue).run()

    assert harness.counts.polls == [Reason.SERVER_ERROR, Reason.SERVER_ERROR]
    assert harness.counts.unpublished == 0


def test_a_first_poll_that_is_not_completed_has_ended_and_a_cause_that_stays_is_logged_once() -> (
    None
):
    harness = PollerHarness()
    errors = [MemoryError(), MemoryError(), RuntimeError()]
    harness.publish_errors = [*errors]
    queue = PassingQueue(harness, stopping_after(1, harness))

    with capture_logs() as logs:
        harness.loop_with(queue).run()

    assert harness.poller.polled_once.is_set()
    assert len(harness.marked_down) == 3
    not_completed = "poll not completed, server shown as down until the next poll ends"
    assert logs[1:] == [
        error_log(not_completed, errors[0]),
        error_log(not_completed, errors[2]),
        {"event": "polls complete again", "server": "hq", "log_level": "info"},
    ]


def test_changes_that_cannot_be_published_are_found_by_a_full_list() -> None:
    harness = PollerHarness(running(60), finished(100))
    gone = finished(100)

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            del harness.api.sessions[gone.id]
            harness.clock.seconds -= 45.0  # the wait ends early
            harness.publish_errors = [MemoryError()]
            queue.put([SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60))])
        if len(queue.waits) == 4:
            harness.stop.set()

    harness.loop_with(PassingQueue(harness, change)).run()

    assert harness.marked_down == ["changes not published: MemoryError"]
    assert gone.id not in shown_ids(harness.published[-1])


def test_sessions_that_could_not_be_passed_on_are_passed_on_after_the_next_poll() -> None:
    harness = PollerHarness(running(60))
    harness.record_errors = [MemoryError()]
    queue = PassingQueue(harness, stopping_after(1, harness))

    harness.loop_with(queue).run()

    assert [session.id for session in harness.recorded] == [session_id(60)]


def test_an_exception_after_a_poll_was_published_makes_no_failure_of_it_and_is_logged_once() -> (
    None
):
    harness = PollerHarness(running(60))
    errors = [MemoryError(), MemoryError(), RuntimeError()]
    harness.record_errors = [*errors]
    queue = PassingQueue(harness, stopping_after(1, harness))

    with capture_logs() as logs:
        harness.loop_with(queue).run()

    assert harness.counts.polls == [None, None, None, None]
    assert harness.counts.unpublished == 0
    assert harness.marked_down == []
    between_polls = "unexpected error between polls, starting the next poll early"
    assert logs[1:] == [error_log(between_polls, errors[0]), error_log(between_polls, errors[2])]


def test_changes_that_cannot_be_published_show_the_server_as_down_but_fail_no_poll() -> None:
    harness = PollerHarness(running(60))

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            harness.clock.seconds -= 45.0  # the wait ends early
            harness.publish_errors = [MemoryError()]
            queue.put([SessionChange(kind=ChangeKind.UPDATE, session_id=session_id(60))])
        if len(queue.waits) == 3:
            harness.stop.set()

    with capture_logs() as logs:
        harness.loop_with(PassingQueue(harness, change)).run()

    assert harness.marked_down == ["changes not published: MemoryError"]
    assert harness.counts.polls == [None, None]
    assert harness.counts.unpublished == 0
    assert [entry["event"] for entry in logs] == [
        "first poll succeeded",
        "changes not published, server shown as down until the next poll ends",
        "polls complete again",
    ]


def test_a_poll_that_the_change_feed_caused_and_that_cannot_be_published_is_a_failed_one() -> None:
    harness = PollerHarness(running(60), finished(100))

    def change(queue: PassingQueue) -> None:
        if len(queue.waits) == 1:
            harness.clock.seconds -= 45.0  # the wait ends early
            harness.publish_errors = [MemoryError()]
            queue.put([SessionChange(kind=ChangeKind.DELETE, session_id=session_id(60))])
        if len(queue.waits) == 3:
            harness.stop.set()

    harness.loop_with(PassingQueue(harness, change)).run()

    assert harness.marked_down == ["poll not completed: MemoryError"]
    assert harness.counts.polls == [None, None, None]
    assert harness.counts.unpublished == 1


def test_polls_that_cannot_begin_have_failed_and_show_the_server_as_down() -> None:
    harness = PollerHarness()
    queue = PassingQueue(harness, stopping_after(1, harness))
    loop = harness.loop_with(queue)
    poll = loop.poll
    errors = [MemoryError(), MemoryError()]

    def failing_poll(*, next_poll_at: float = inf) -> None:
        if errors:
            raise errors.pop()
        poll(next_poll_at=next_poll_at)

    loop.poll = failing_poll  # type: ignore[method-assign] # before the poll itself
    loop.run()

    assert harness.marked_down == ["poll not completed: MemoryError"] * 2
    assert harness.counts.polls == [Reason.INTERNAL, Reason.INTERNAL, None]


def test_an_exception_that_cannot_be_recorded_does_not_end_the_loop() -> None:
    harness = PollerHarness()
    harness.publish_errors = [MemoryError()]

    def fail(error: Exception) -> None:
        raise MemoryError from error

    harness.poller.fail_uncompleted = fail  # type: ignore[method-assign] # memory is still short
    harness.loop_with(PassingQueue(harness, stopping_after(1, harness))).run()

    assert len(harness.published) == 1


def test_an_exception_outside_of_polls_does_not_end_the_loop() -> None:
    harness = PollerHarness()
    waits = 0

    class FailingQueue(PassingQueue):
        def wait(self, seconds: float) -> PendingChanges:
            nonlocal waits
            waits += 1
            if waits == 1:
                raise MemoryError
            return super().wait(seconds)

    harness.loop_with(FailingQueue(harness, stopping_after(1, harness))).run()

    assert len(harness.counts.polls) == 2


def test_a_loop_that_is_woken_after_it_was_stopped_does_not_poll_again() -> None:
    harness = PollerHarness()
    queue = ChangeQueue()
    thread = threading.Thread(target=harness.loop_with(queue).run)
    thread.start()
    assert harness.poller.polled_once.wait(10)

    harness.stop.set()
    queue.wake()
    thread.join(10)

    assert not thread.is_alive()
    assert len(harness.counts.polls) == 1


def test_a_poll_that_a_stop_aborts_is_no_overrun() -> None:
    harness = PollerHarness()
    answer = harness.api.product_version

    def stopped() -> str:
        harness.clock.seconds += 90.0
        harness.stop.set()
        return answer()

    harness.api.product_version = stopped  # type: ignore[method-assign] # time passes while the server answers
    harness.loop_with(ChangeQueue()).run()

    assert harness.counts.overruns == 0
