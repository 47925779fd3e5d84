from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from exporter.monotonic import system_monotonic
from exporter.threads import ThreadLimitError
from exporter.vb365.http.deadlines import (
    AbortReason,
    Cancellation,
    Watchdog,
    current_exchange,
)
from support.thread_limit import no_more_threads
from support.waiting import wait_until

LONG = 60.0
ROOMY = 2.0
"""A deadline in real seconds, before which even a slow machine begins to watch a socket."""


@pytest.fixture
def cancellation(stop: threading.Event) -> Cancellation:
    return Cancellation(stop)


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(LONG)
        yield ours, theirs


def test_stopping_or_cancelling_cancels(stop: threading.Event) -> None:
    one, other = Cancellation(stop), Cancellation(stop)
    assert (one.cancelled, other.cancelled) == (False, False)
    one.cancel()
    assert (one.cancelled, other.cancelled, stop.is_set()) == (True, False, False)
    stop.set()
    assert (one.cancelled, other.cancelled) == (True, True)


def test_a_wait_lasts_as_long_as_requested(cancellation: Cancellation) -> None:
    begun = time.monotonic()
    assert cancellation.wait(0.15) is False
    assert time.monotonic() - begun >= 0.15


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_a_wait_ends_when_it_is_cancelled(
    cancellation: Cancellation, stop: threading.Event, how: str
) -> None:
    end = stop.set if how == "stop" else cancellation.cancel
    timer = threading.Timer(0.02, end)
    timer.start()
    assert cancellation.wait(math.inf) is True
    timer.join()


def test_an_exchange_is_aborted_at_its_deadline(
    watchdog: Watchdog, cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    exchange = watchdog.begin(ROOMY, cancellation=cancellation)
    exchange.watch(pair[0])
    begun = time.monotonic()
    assert pair[0].recv(1) == b""
    assert time.monotonic() - begun >= ROOMY / 2
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_an_exchange_that_ends_past_its_deadline_is_aborted_even_if_the_watchdog_comes_late(
    watchdog: Watchdog, stop: threading.Event
) -> None:
    class NeverAborted(Cancellation):
        begun = False

        @property
        def cancelled(self) -> bool:
            if self.begun:
                raise MemoryError
            return super().cancelled

    cancellation = NeverAborted(stop)
    exchange = watchdog.begin(0.5, cancellation=cancellation)
    cancellation.begun = True
    deadline = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > deadline, "the deadline")
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_an_exchange_that_cannot_be_aborted_does_not_keep_others_from_it(
    stop: threading.Event, pair: tuple[socket.socket, socket.socket]
) -> None:
    class Failing(Cancellation):
        fails = False

        @property
        def cancelled(self) -> bool:
            if self.fails:
                raise MemoryError
            return super().cancelled

    failing = Failing(stop)
    clock = SuspendedClock()
    watchdog = Watchdog(clock)
    other = watchdog.begin(2 * LONG, cancellation=failing)
    failing.fails = True
    exchange = watchdog.begin(LONG, cancellation=Cancellation(stop))
    exchange.watch(pair[0])

    clock.seconds = LONG

    assert pair[0].recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.DEADLINE
    watchdog.finish(other)


def test_an_aborted_exchange_takes_no_further_socket(
    watchdog: Watchdog, cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    exchange = watchdog.begin(0.0, cancellation=cancellation)
    watchdog.enforce_now()
    with pytest.raises(TimeoutError):
        exchange.watch(pair[0])
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_exchanges_are_aborted_when_the_client_is_stopped(
    watchdog: Watchdog,
    cancellation: Cancellation,
    stop: threading.Event,
    pair: tuple[socket.socket, socket.socket],
) -> None:
    exchange = watchdog.begin(LONG, cancellation=cancellation)
    exchange.watch(pair[0])
    stop.set()
    assert pair[0].recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.CANCELLED


def test_an_exchange_that_begins_after_the_stop_gets_no_socket(
    watchdog: Watchdog,
    cancellation: Cancellation,
    stop: threading.Event,
    pair: tuple[socket.socket, socket.socket],
) -> None:
    stop.set()
    exchange = watchdog.begin(LONG, cancellation=cancellation)
    with pytest.raises(TimeoutError):
        exchange.watch(pair[0])
    assert watchdog.finish(exchange) is AbortReason.CANCELLED


def test_an_exchange_that_nothing_cancels_still_has_its_deadline(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    clock = SuspendedClock()
    watchdog = Watchdog(clock)
    exchange = watchdog.begin(LONG, cancellation=None)
    exchange.watch(pair[0])

    clock.seconds = LONG - 1.0
    watchdog.enforce_now()
    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"
    clock.seconds = LONG
    assert pair[0].recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_an_exchange_that_finishes_in_time_keeps_its_socket(
    watchdog: Watchdog,
    cancellation: Cancellation,
    stop: threading.Event,
    pair: tuple[socket.socket, socket.socket],
) -> None:
    exchange = watchdog.begin(LONG, cancellation=cancellation)
    exchange.watch(pair[0])
    assert current_exchange() is exchange
    assert watchdog.finish(exchange) is None
    with pytest.raises(RuntimeError):
        current_exchange()
    stop.set()
    watchdog.enforce_now()
    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"


def test_one_watchdog_serves_clients_that_are_cancelled_separately(
    watchdog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = Cancellation(threading.Event()), Cancellation(threading.Event())
    cancelled = watchdog.begin(LONG, cancellation=one)
    left_alone = watchdog.begin(LONG, cancellation=other)
    cancelled.watch(pair[0])
    left_alone.watch(pair[1])

    one.cancel()
    watchdog.enforce_now()

    assert watchdog.finish(cancelled) is AbortReason.CANCELLED
    assert watchdog.finish(left_alone) is None


def test_exchanges_after_the_first_need_no_other_thread(
    cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    clock = SuspendedClock()
    watchdog = Watchdog(clock)
    watchdog.finish(watchdog.begin(LONG, cancellation=cancellation))
    pass_seconds(0.5)

    with no_more_threads():
        later = watchdog.begin(LONG, cancellation=cancellation)
    later.watch(pair[0])
    clock.seconds = LONG
    assert pair[0].recv(1) == b""
    assert watchdog.finish(later) is AbortReason.DEADLINE


def pass_seconds(seconds: float) -> None:
    """Wait until so many seconds have passed."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, f"{seconds} seconds")


def test_without_a_thread_an_exchange_does_not_begin_but_a_later_one_has_its_deadline(
    cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    clock = SuspendedClock()
    watchdog = Watchdog(clock)
    with no_more_threads(), pytest.raises(ThreadLimitError):
        watchdog.begin(LONG, cancellation=cancellation)

    exchange = watchdog.begin(LONG, cancellation=cancellation)
    exchange.watch(pair[0])
    clock.seconds = LONG
    assert pair[0].recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


class SuspendedClock:
    """A monotonic clock that stands still except for suspensions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_response_that_arrived_before_a_suspension_is_past_its_deadline(
    cancellation: Cancellation,
) -> None:
    clock = SuspendedClock()
    watchdog = Watchdog(clock)
    exchange = watchdog.begin(LONG, cancellation=cancellation)

    clock.seconds = 3600.0

    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_a_request_that_hangs_since_before_a_suspension_is_aborted_after_it(
    cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = pair
    clock = SuspendedClock()
    watchdog = Watchdog(clock)
    exchange = watchdog.begin(LONG, cancellation=cancellation)
    exchange.watch(ours)

    clock.seconds = 3600.0

    assert ours.recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock of Linux")
def test_the_time_of_a_suspension_counts() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= system_monotonic()() <= time.clock_gettime(time.CLOCK_BOOTTIME)
