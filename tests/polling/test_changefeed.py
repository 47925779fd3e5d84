from __future__ import annotations

import threading

from structlog.testing import capture_logs

from exporter.polling.changefeed import HOLD_SECONDS, ChangeFeed
from exporter.polling.inbox import Inbox, Told
from exporter.vb365.errors import (
    BadResponseError,
    NotFoundError,
    ServerError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.records.changes import OUTDATED_POSITION, ChangeKind, Changes, SessionChange
from support.pollers import StandingClock

UPDATE = SessionChange(kind=ChangeKind.UPDATE, session_id="a", e_tag=1)


class FakeFeed:
    """An API whose feed answers what the test says, one answer after the other."""

    def __init__(self, *answers: Changes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, float]] = []
        self.has_change_feed = True
        self.clock = StandingClock()
        self.takes_seconds = 10.0

    def change_feed(self, position: str, *, hold_seconds: float) -> Changes:
        self.asked.append((position, hold_seconds))
        self.clock.seconds += self.takes_seconds
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Heard:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.connected: list[bool | None] = []
        self.events: list[str] = []

    def feed_connected(self, *, connected: bool | None) -> None:
        self.connected.append(connected)

    def feed_event(self, kind: str, timestamp: float) -> None:
        assert timestamp > 0
        self.events.append(kind)


class Bench:
    """A feed with everything around it replaced."""

    def __init__(self, *answers: Changes | Exception) -> None:
        self.api = FakeFeed(*answers)
        self.inbox = Inbox()
        self.heard = Heard()
        self.stop = threading.Event()
        self.polled_once = threading.Event()
        self.feed = ChangeFeed(
            "hq",
            api=self.api,
            inbox=self.inbox,
            observer=self.heard,
            polled_once=self.polled_once,
            clock=self.api.clock,
            stop=self.stop,
            random=lambda: 1.0,
        )


def changes(position: str, *sessions: SessionChange) -> Changes:
    return Changes(position=position, sessions=sessions)


def server_error() -> Vb365Error:
    return ServerError("answered 503", operation="change_feed", status=503)


def outdated() -> Vb365Error:
    return BadResponseError(
        "not accepted", operation="change_feed", status=400, code=OUTDATED_POSITION
    )


def test_a_feed_begins_at_its_end_and_goes_on_from_where_it_was() -> None:
    bench = Bench(changes("17"), changes("18", UPDATE), changes("18"))

    for _ in range(3):
        bench.feed.ask()

    assert bench.api.asked == [("latest", 0.0), ("17", HOLD_SECONDS), ("18", HOLD_SECONDS)]
    assert Told(changes=(UPDATE,), gap=True) == bench.inbox.take()
    assert bench.heard.events == ["update"]


def test_a_failure_of_the_feed_does_not_lose_the_position() -> None:
    bench = Bench(changes("17"), server_error(), changes("18", UPDATE))
    bench.feed.ask()
    bench.inbox.take()

    bench.feed.ask()
    bench.feed.ask()

    assert bench.api.asked[-1][0] == "17"
    assert Told(changes=(UPDATE,), gap=False) == bench.inbox.take()
    assert bench.heard.connected == [True, False, True]


def test_a_position_that_is_outdated_makes_the_feed_begin_anew_and_asks_for_a_poll() -> None:
    bench = Bench(changes("17"), outdated(), changes("90"))
    bench.feed.ask()
    bench.inbox.take()

    bench.feed.ask()
    assert not bench.inbox.take()
    bench.feed.ask()

    assert bench.api.asked[-1][0] == "latest"
    assert Told(gap=True, lost=True) == bench.inbox.take()


def test_failures_in_a_row_are_waited_for_longer_and_longer_up_to_a_minute() -> None:
    bench = Bench(*[server_error() for _ in range(9)])

    waits = [bench.feed.ask() for _ in range(9)]

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_an_answer_ends_the_longer_waits() -> None:
    bench = Bench(*(server_error(), server_error(), changes("17"), changes("17"), server_error()))

    waits = [bench.feed.ask() for _ in range(5)]

    assert waits == [1.0, 2.0, 0.0, 0.0, 1.0]


def test_a_feed_whose_positions_never_last_begins_anew_less_and_less_often() -> None:
    answers = [answer for _ in range(8) for answer in (changes("17"), outdated())]
    bench = Bench(*answers)

    waits = [bench.feed.ask() for _ in answers][1::2]

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_server_that_wants_to_be_left_alone_is() -> None:
    bench = Bench(ThrottledError("enough", operation="change_feed", retry_after_seconds=300.0))

    assert bench.feed.ask() == 300.0


def test_a_feed_that_answers_at_once_is_asked_twice_a_second_at_most() -> None:
    bench = Bench(changes("17"))
    bench.api.takes_seconds = 0.125

    assert bench.feed.ask() == 0.375


def test_a_version_without_a_feed_is_not_asked_and_has_no_series() -> None:
    bench = Bench()
    bench.api.has_change_feed = False

    assert bench.feed.ask() > 0

    assert bench.api.asked == []
    assert bench.heard.connected == [None]


def test_a_server_whose_feed_is_not_there_is_asked_again_after_minutes_and_told_of_once() -> None:
    missing = NotFoundError("not found", operation="change_feed", status=404)
    bench = Bench(missing, missing)

    with capture_logs() as logs:
        waits = [bench.feed.ask(), bench.feed.ask()]

    assert waits == [300.0, 300.0]
    assert bench.heard.connected == [None, None]
    assert [entry["event"] for entry in logs] == [
        "server has no change feed, polls alone tell of changes"
    ]


def test_a_loss_is_logged_when_it_begins_and_when_it_is_over() -> None:
    bench = Bench(changes("17"), server_error(), server_error(), changes("18"), changes("18"))

    with capture_logs() as logs:
        for _ in range(5):
            bench.feed.ask()

    assert [
        (entry["event"], entry.get("reason"), entry.get("lost_for_seconds")) for entry in logs
    ] == [
        ("change feed lost, polls alone tell of changes", "server_error", None),
        ("change feed followed again", None, 20.0),
    ]


def test_a_defect_of_our_own_is_logged_and_not_the_end_of_the_feed() -> None:
    bench = Bench(ValueError("a defect"), changes("17"))

    with capture_logs() as logs:
        bench.feed.ask()
        bench.feed.ask()

    assert logs[0]["exc_info"]
    assert bench.heard.connected == [False, True]


def test_what_is_cut_by_the_stop_is_no_loss() -> None:
    bench = Bench(server_error())
    bench.stop.set()

    with capture_logs() as logs:
        assert bench.feed.ask() == 0.0

    assert logs == []
    assert bench.heard.connected == []


def test_the_feed_waits_for_the_first_poll_and_ends_when_it_is_stopped() -> None:
    bench = Bench()
    thread = threading.Thread(target=bench.feed.run)
    thread.start()

    bench.stop.set()
    bench.polled_once.set()
    thread.join(10)

    assert not thread.is_alive()
    assert bench.api.asked == []
