from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from exporter.vb365.http.deadlines import (
    AbortReason,
    Cancellation,
    Watchdog,
    current_exchange,
)

LONG = 60.0


@pytest.fixture
def cancellation(stop: threading.Event) -> Cancellation:
    return Cancellation(stop)


@pytest.fixture
def watchdog(cancellation: Cancellation) -> Iterator[Watchdog]:
    watchdog = Watchdog(cancellation, name="watchdog-test")
    yield watchdog
    watchdog.close()


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
    watchdog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    exchange = watchdog.begin(0.05)
    exchange.watch(pair[0])
    assert pair[0].recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_an_aborted_exchange_takes_no_further_socket(
    watchdog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    exchange = watchdog.begin(0.0)
    watchdog.enforce_now()
    with pytest.raises(TimeoutError):
        exchange.watch(pair[0])
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_exchanges_are_aborted_when_the_client_is_stopped(
    watchdog: Watchdog, stop: threading.Event, pair: tuple[socket.socket, socket.socket]
) -> None:
    exchange = watchdog.begin(LONG)
    exchange.watch(pair[0])
    stop.set()
    assert pair[0].recv(1) == b""
    assert watchdog.finish(exchange) is AbortReason.CANCELLED


def test_an_exchange_that_begins_after_the_stop_gets_no_socket(
    watchdog: Watchdog, stop: threading.Event, pair: tuple[socket.socket, socket.socket]
) -> None:
    stop.set()
    exchange = watchdog.begin(LONG)
    with pytest.raises(TimeoutError):
        exchange.watch(pair[0])
    assert watchdog.finish(exchange) is AbortReason.CANCELLED


def test_an_exchange_that_begins_after_closing_is_aborted_without_the_thread(
    cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    watchdog = Watchdog(cancellation, name="watchdog-test")
    cancellation.cancel()
    watchdog.close()
    exchange = watchdog.begin(LONG)
    with pytest.raises(TimeoutError):
        exchange.watch(pair[0])
    assert watchdog.finish(exchange) is AbortReason.CANCELLED


def test_an_exchange_allowed_after_the_stop_still_has_its_deadline(
    watchdog: Watchdog, stop: threading.Event, pair: tuple[socket.socket, socket.socket]
) -> None:
    stop.set()
    exchange = watchdog.begin(0.3, allow_after_stop=True)
    exchange.watch(pair[0])
    begun = time.monotonic()
    assert pair[0].recv(1) == b""
    assert time.monotonic() - begun >= 0.2
    assert watchdog.finish(exchange) is AbortReason.DEADLINE


def test_an_exchange_that_finishes_in_time_keeps_its_socket(
    watchdog: Watchdog, stop: threading.Event, pair: tuple[socket.socket, socket.socket]
) -> None:
    exchange = watchdog.begin(LONG)
    exchange.watch(pair[0])
    assert current_exchange() is exchange
    assert watchdog.finish(exchange) is None
    assert current_exchange() is None
    stop.set()
    watchdog.enforce_now()
    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"


def test_an_idle_watchdog_wakes_up_for_the_next_exchange(
    watchdog: Watchdog, cancellation: Cancellation, pair: tuple[socket.socket, socket.socket]
) -> None:
    watchdog.finish(watchdog.begin(LONG))
    cancellation.wait(0.3)  # three ticks
    exchange = watchdog.begin(0.01)
    exchange.watch(pair[0])
    assert pair[0].recv(1) == b""
    watchdog.finish(exchange)


def test_a_watchdog_has_no_thread_before_the_first_exchange_and_none_after_closing(
    cancellation: Cancellation,
) -> None:
    before = threading.active_count()
    watchdog = Watchdog(cancellation, name="watchdog-test")
    assert threading.active_count() == before
    watchdog.finish(watchdog.begin(LONG))
    assert threading.active_count() == before + 1
    watchdog.close()
    assert threading.active_count() == before
