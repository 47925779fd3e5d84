from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import pytest
from structlog.testing import capture_logs

from exporter.polling.changefeed import LONG_POLL_SECONDS, ChangeFeed, ChangeQueue, PendingChanges
from exporter.vb365.errors import (
    BadResponseError,
    NotFoundError,
    ServerError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.records.changes import (
    EXPIRED_TOKEN,
    ChangeKind,
    Changes,
    SessionChange,
)
from support.poller_harness import StandingClock

UPDATE = SessionChange(kind=ChangeKind.UPDATE, session_id="a", e_tag=1)


class FakeFeed:
    """An API whose feed returns these responses, one after the other."""

    def __init__(self, *answers: Changes | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, float]] = []
        self.has_change_feed = True
        self.clock = StandingClock()
        self.takes_seconds = 10.0

    def change_feed(self, change_token: str, *, long_poll_seconds: float) -> Changes:
        self.requests.append((change_token, long_poll_seconds))
        self.clock.seconds += self.takes_seconds
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class RecordingObserver:
    """Records what the feed reports."""

    def __init__(self) -> None:
        self.connected: list[bool | None] = []
        self.events: list[str] = []

    def feed_connected(self, *, connected: bool | None) -> None:
        self.connected.append(connected)

    def feed_event(self, kind: str, timestamp: float) -> None:
        assert timestamp > 0
        self.events.append(kind)


class PassingEvent(threading.Event):
    """An event on which waiting takes no time; it is set after a number of waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self._left = waits
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if len(self.waits) == self._left:
            self.set()
        return self.is_set()


class FeedHarness:
    """A feed with everything around it replaced."""

    def __init__(
        self,
        *answers: Changes | Exception,
        long_poll_seconds: float = LONG_POLL_SECONDS,
        random: Callable[[], float] = lambda: 1.0,
        stop: threading.Event | None = None,
    ) -> None:
        self.api = FakeFeed(*answers)
        self.queue = ChangeQueue()
        self.observer = RecordingObserver()
        self.stop = stop or threading.Event()
        self.feed = ChangeFeed(
            "hq",
            api=self.api,
            queue=self.queue,
            observer=self.observer,
            clock=self.api.clock,
            stop=self.stop,
            long_poll_seconds=long_poll_seconds,
            random=random,
        )


def changes(token: str, *sessions: SessionChange) -> Changes:
    return Changes(change_token=token, sessions=sessions)


def server_error() -> Vb365Error:
    return ServerError("answered 503", operation="change_feed", status=503)


def expired() -> Vb365Error:
    return BadResponseError("not accepted", operation="change_feed", status=400, code=EXPIRED_TOKEN)


def test_a_feed_starts_at_its_end_and_continues_after_the_last_token() -> None:
    harness = FeedHarness(changes("17"), changes("18", UPDATE), changes("18"))

    for _ in range(3):
        harness.feed.fetch()

    assert harness.api.requests == [
        ("latest", 0.0),
        ("17", 30.0),
        ("18", 30.0),
    ]
    assert harness.queue.wait(0) == PendingChanges(changes=(UPDATE,), gap=True)
    assert harness.observer.events == ["update"]


def test_a_failure_of_the_feed_keeps_the_token() -> None:
    harness = FeedHarness(changes("17"), server_error(), changes("18", UPDATE))
    harness.feed.fetch()
    harness.queue.wait(0)

    harness.feed.fetch()
    harness.feed.fetch()

    assert harness.api.requests[-1][0] == "17"
    assert harness.queue.wait(0) == PendingChanges(changes=(UPDATE,), gap=False)
    assert harness.observer.connected == [True, False, True]


def test_an_expired_token_makes_the_feed_start_over_and_requests_a_poll() -> None:
    harness = FeedHarness(changes("17"), expired(), changes("90"))
    harness.feed.fetch()
    harness.queue.wait(0)

    harness.feed.fetch()
    assert harness.queue.wait(0) == PendingChanges()
    harness.feed.fetch()

    assert harness.api.requests[-1][0] == "latest"
    assert harness.queue.wait(0) == PendingChanges(gap=True, lost=True)


def test_a_response_of_far_too_many_changes_makes_the_feed_start_over() -> None:
    too_many = BadResponseError("more than 5000 results", operation="change_feed")
    harness = FeedHarness(changes("17"), too_many, changes("90"), too_many)
    harness.feed.fetch()
    harness.queue.wait(0)

    waits = [harness.feed.fetch() for _ in range(3)]

    assert [token for token, _ in harness.api.requests] == ["latest", "17", "latest", "90"]
    assert harness.queue.wait(0) == PendingChanges(gap=True, lost=True)
    assert waits == [1.0, 0.0, 2.0]


@pytest.mark.parametrize("status", [200, 400, 414, 431])
def test_a_token_that_leads_to_an_unusable_response_is_not_used_again(status: int) -> None:
    unusable = BadResponseError("unusable", operation="change_feed", status=status)
    harness = FeedHarness(changes("17"), unusable, changes("90"), unusable, changes("91"))

    waits = [harness.feed.fetch() for _ in range(4)]

    assert [token for token, _ in harness.api.requests] == ["latest", "17", "latest", "90"]
    assert waits == [0.0, 1.0, 0.0, 2.0]
    assert harness.queue.wait(0) == PendingChanges(gap=True, lost=True)


def test_failures_in_a_row_back_off_exponentially_up_to_a_minute() -> None:
    harness = FeedHarness(*[server_error() for _ in range(9)])

    waits = [harness.feed.fetch() for _ in range(9)]

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_response_resets_the_backoff() -> None:
    harness = FeedHarness(
        *(server_error(), server_error(), changes("17"), changes("17"), server_error())
    )

    waits = [harness.feed.fetch() for _ in range(5)]

    assert waits == [1.0, 2.0, 0.0, 0.0, 1.0]


def test_a_feed_whose_tokens_never_last_starts_over_less_and_less_often() -> None:
    answers = [answer for _ in range(8) for answer in (changes("17"), expired())]
    harness = FeedHarness(*answers)

    waits = [harness.feed.fetch() for _ in answers][1::2]

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_retry_after_is_honoured() -> None:
    harness = FeedHarness(
        ThrottledError("enough", operation="change_feed", retry_after_seconds=300.0)
    )

    assert harness.feed.fetch() == 300.0


def test_a_feed_that_responds_at_once_is_requested_twice_a_second_at_most() -> None:
    harness = FeedHarness(changes("17"))
    harness.api.takes_seconds = 0.125

    assert harness.feed.fetch() == 0.375


def test_a_version_without_a_feed_gets_no_request_and_has_no_series() -> None:
    harness = FeedHarness()
    harness.api.has_change_feed = False

    harness.feed.run()

    assert harness.api.requests == []
    assert harness.observer.connected == [None]


def test_a_missing_feed_is_requested_again_after_minutes_and_logged_once() -> None:
    missing = NotFoundError("not found", operation="change_feed", status=404)
    harness = FeedHarness(missing, missing)

    with capture_logs() as logs:
        waits = [harness.feed.fetch(), harness.feed.fetch()]

    assert waits == [300.0, 300.0]
    assert harness.observer.connected == [None, None]
    assert logs == [
        {
            "event": "server has no change feed, falling back to polling",
            "server": "hq",
            "log_level": "info",
        }
    ]


def test_a_failing_feed_is_logged_when_it_starts_to_fail_and_when_it_is_available_again() -> None:
    failures = [server_error() for _ in range(3)]
    harness = FeedHarness(changes("17"), *failures, changes("18"), changes("18"))
    harness.api.takes_seconds = 10.02

    with capture_logs() as logs:
        for _ in range(6):
            harness.feed.fetch()

    assert logs == [
        {
            "event": "change feed unavailable, falling back to polling",
            "server": "hq",
            "reason": "server_error",
            "error": str(failures[0]),
            "log_level": "warning",
        },
        {
            "event": "change feed available again",
            "server": "hq",
            "unavailable_for_seconds": 30.1,
            "log_level": "info",
        },
    ]


def test_an_unexpected_error_is_logged_and_not_the_end_of_the_feed() -> None:
    harness = FeedHarness(changes("17"), ValueError("a defect"), changes("18"))
    harness.feed.fetch()

    with capture_logs() as logs:
        harness.feed.fetch()
        harness.feed.fetch()

    assert logs[0]["exc_info"]
    assert harness.observer.connected == [True, False, True]
    # No response was lost, so the feed goes on where it was.
    assert [token for token, _ in harness.api.requests] == ["latest", "17", "17"]


def test_after_a_response_that_could_not_be_queued_the_feed_starts_over_with_a_full_list() -> None:
    class FailingQueue(ChangeQueue):
        fails = False

        def put(self, changes: Iterable[SessionChange]) -> None:
            if self.fails:
                self.fails = False
                raise MemoryError
            super().put(changes)

    queue = FailingQueue()
    api = FakeFeed(changes("1"), changes("2", UPDATE), changes("3"), changes("4"))
    observer = RecordingObserver()
    feed = ChangeFeed(
        "hq",
        api=api,
        queue=queue,
        observer=observer,
        clock=api.clock,
        stop=PassingEvent(10),
    )
    feed.fetch()
    queue.wait(0)

    queue.fails = True
    with capture_logs() as logs:
        feed.fetch()
        feed.fetch()

    assert [token for token, _ in api.requests] == ["latest", "1", "latest"]
    assert observer.connected == [True, False, True]
    assert queue.wait(0) == PendingChanges(gap=True, lost=True)
    assert [entry["log_level"] for entry in logs] == ["error", "info"]


def test_the_long_poll_time_is_a_parameter() -> None:
    harness = FeedHarness(changes("17"), changes("17"), long_poll_seconds=5.0)

    harness.feed.fetch()
    harness.feed.fetch()

    assert harness.api.requests == [("latest", 0.0), ("17", 5.0)]


def test_the_backoff_is_spread_over_its_upper_half() -> None:
    harness = FeedHarness(server_error(), server_error(), random=lambda: 0.5)

    assert [harness.feed.fetch(), harness.feed.fetch()] == [0.75, 1.5]


def test_a_failing_feed_reports_each_failure_and_a_missing_one_starts_over() -> None:
    missing = NotFoundError("not found", operation="change_feed", status=404)
    harness = FeedHarness(changes("17"), server_error(), server_error(), missing, changes("20"))

    for _ in range(5):
        harness.feed.fetch()

    assert harness.observer.connected == [True, False, False, None, True]
    assert harness.api.requests[-1] == ("latest", 0.0)


def test_an_expired_token_at_the_stop_is_no_failure_either() -> None:
    harness = FeedHarness(changes("17"), expired())
    harness.feed.fetch()
    harness.stop.set()

    assert harness.feed.fetch() == 0.0
    assert harness.observer.connected == [True]


def test_an_unexpected_error_backs_off_like_any_other() -> None:
    harness = FeedHarness(ValueError("a defect"), ValueError("a defect"))

    with capture_logs() as logs:
        waits = [harness.feed.fetch(), harness.feed.fetch()]

    assert waits == [1.0, 2.0]
    assert [(entry["event"], entry["server"]) for entry in logs] == [
        ("change feed aborted by unexpected error, falling back to polling", "hq")
    ] * 2


def test_a_request_cancelled_by_the_stop_is_no_failure() -> None:
    harness = FeedHarness(server_error())
    harness.stop.set()

    with capture_logs() as logs:
        assert harness.feed.fetch() == 0.0

    assert logs == []
    assert harness.observer.connected == []


def test_the_feed_waits_between_its_requests_until_stopped() -> None:
    stop = PassingEvent(2)
    harness = FeedHarness(changes("17"), server_error(), stop=stop)

    harness.feed.run()

    assert harness.api.requests == [("latest", 0.0), ("17", 30.0)]
    assert stop.waits == [0.0, 1.0]
    assert harness.observer.connected == [True, False, None]


def test_a_stopped_feed_requests_nothing_and_is_not_connected() -> None:
    harness = FeedHarness()
    harness.stop.set()

    harness.feed.run()

    assert harness.api.requests == []
    assert harness.observer.connected == [None]


# The queue


def update(session_id: str, e_tag: int = 1) -> SessionChange:
    return SessionChange(kind=ChangeKind.UPDATE, session_id=session_id, e_tag=e_tag)


def delete(session_id: str) -> SessionChange:
    return SessionChange(kind=ChangeKind.DELETE, session_id=session_id)


def test_of_several_changes_of_a_session_the_last_one_counts_in_its_place() -> None:
    queue = ChangeQueue()

    queue.put([update("a"), update("b")])
    queue.put([delete("a")])

    assert queue.wait(0) == PendingChanges(changes=(update("b"), delete("a")))


def test_what_was_taken_is_not_returned_again() -> None:
    queue = ChangeQueue()
    queue.put([update("a")])
    queue.mark_gap(lost=False)

    assert queue.wait(0) == PendingChanges(changes=(update("a"),), gap=True)
    assert queue.wait(0) == PendingChanges()


def test_a_wait_ends_when_a_change_arrives() -> None:
    queue = ChangeQueue()
    pending: list[PendingChanges] = []
    waiting = threading.Thread(target=lambda: pending.append(queue.wait(60)))
    waiting.start()

    queue.put([update("a")])
    waiting.join(10)

    assert pending == [PendingChanges(changes=(update("a"),))]


def test_a_wait_ends_without_anything_when_it_is_woken() -> None:
    queue = ChangeQueue()
    queue.wake()

    assert queue.wait(60) == PendingChanges()


def test_no_changes_end_no_wait() -> None:
    queue = ChangeQueue()
    queue.put([])

    assert queue.wait(0) == PendingChanges()


def test_a_gap_ends_a_wait_and_a_lost_one_stays_lost() -> None:
    queue = ChangeQueue()
    queue.mark_gap(lost=True)
    queue.mark_gap(lost=False)

    assert queue.wait(60) == PendingChanges(gap=True, lost=True)
    assert queue.wait(0) == PendingChanges()


def test_a_wait_after_everything_was_taken_returns_empty() -> None:
    queue = ChangeQueue()
    queue.put([update("a")])
    queue.wait(0)

    assert queue.wait(0) == PendingChanges()


def test_changes_of_a_thousand_sessions_are_queued_and_those_of_others_leave_a_gap() -> None:
    queue = ChangeQueue()

    queue.put([update(str(number)) for number in range(1500)])
    queue.put([update("0", e_tag=2), update("new")])

    pending = queue.wait(0)
    assert (len(pending.changes), pending.left_out) == (1000, 501)
    assert pending.changes[-1] == update("0", e_tag=2)
    assert (pending.gap, pending.lost) == (True, True)
    assert queue.wait(0) == PendingChanges()
