from __future__ import annotations

import threading
import weakref

import pytest

from exporter.polling.parallel_requests import ParallelRequests
from exporter.vb365.errors import BadResponseError, ConnectError, ServerError, Vb365Error
from support.thread_limit import no_more_threads


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def parallel(stop: threading.Event) -> ParallelRequests:
    """One request at a time, so that the order is certain."""
    return ParallelRequests(1, name="get-hq", stop=stop)


def test_each_item_comes_with_its_response_or_error_in_order(parallel: ParallelRequests) -> None:
    error = ServerError("answered 503", operation="get")

    def fetch(item: int) -> int:
        if item == 2:
            raise error
        return item * 10

    assert list(parallel.fetch_all([1, 2, 3], fetch)) == [(1, 10), (2, error), (3, 30)]


@pytest.mark.parametrize("items", [[1], [1, 2]])
def test_an_error_does_not_hold_the_response_that_caused_it(
    parallel: ParallelRequests, items: list[int]
) -> None:
    class Body:
        pass

    bodies = []

    def fetch(_item: int) -> int:
        body = Body()
        bodies.append(weakref.ref(body))
        raise BadResponseError("too long", operation="get")

    results = list(parallel.fetch_all(items, fetch))

    assert [str(error) for _, error in results] == ["get: too long"] * len(items)
    assert [body() for body in bodies] == [None] * len(items)


def test_after_a_server_wide_error_nothing_more_is_requested(parallel: ParallelRequests) -> None:
    requested: list[int] = []
    error: Vb365Error = ConnectError("refused", operation="get")

    def fetch(item: int) -> int:
        requested.append(item)
        raise error

    assert list(parallel.fetch_all([1, 2, 3], fetch)) == [(1, error)]
    assert requested == [1]


def test_after_a_server_wide_error_the_next_call_starts_over(parallel: ParallelRequests) -> None:
    def refused(_item: int) -> int:
        raise ConnectError("refused", operation="get")

    list(parallel.fetch_all([1, 2], refused))

    assert list(parallel.fetch_all([1, 2], lambda item: item)) == [(1, 1), (2, 2)]


def test_nothing_is_requested_once_stopped(
    parallel: ParallelRequests, stop: threading.Event
) -> None:
    stop.set()

    assert list(parallel.fetch_all([1, 2], lambda item: item)) == []


def test_a_stop_abandons_what_was_not_sent_yet(
    parallel: ParallelRequests, stop: threading.Event
) -> None:
    def fetch(item: int) -> int:
        stop.set()
        return item

    assert list(parallel.fetch_all([1, 2, 3], fetch)) == [(1, 1)]


def test_a_single_request_is_made_in_the_calling_thread(parallel: ParallelRequests) -> None:
    names = list(parallel.fetch_all([1], lambda _item: threading.current_thread().name))

    assert names == [(1, threading.current_thread().name)]


def test_requests_are_made_in_threads_that_bear_the_name(parallel: ParallelRequests) -> None:
    names = parallel.fetch_all([1, 2], lambda _item: threading.current_thread().name)

    assert {name for _, name in names} == {"get-hq-0"}


def test_the_threads_do_not_keep_the_process_from_ending(parallel: ParallelRequests) -> None:
    daemons = parallel.fetch_all([1, 2], lambda _item: threading.current_thread().daemon)

    assert list(daemons) == [(1, True), (2, True)]


def test_an_unexpected_error_is_raised_where_the_response_is_read(
    parallel: ParallelRequests,
) -> None:
    def fetch(item: int) -> int:
        raise ValueError(f"defect {item}")

    with pytest.raises(ValueError, match="defect 1"):
        list(parallel.fetch_all([1, 2], fetch))


def test_so_many_requests_are_in_flight_at_once(stop: threading.Event) -> None:
    both = threading.Barrier(2, timeout=10)
    parallel = ParallelRequests(2, name="get-hq", stop=stop)

    arrived = sorted(item for item, _ in parallel.fetch_all([1, 2], lambda _item: both.wait()))

    assert arrived == [1, 2]


def test_what_is_left_at_the_end_of_the_time_is_skipped(stop: threading.Event) -> None:
    now = 100.0

    def fetch(item: int) -> int:
        nonlocal now
        now += 10.0
        return item

    parallel = ParallelRequests(1, name="get-hq", stop=stop, clock=lambda: now)

    assert list(parallel.fetch_all([1, 2, 3], fetch, until=120.0)) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("items", [[1], [1, 2]])
@pytest.mark.parametrize("give_up_at", [102.0, 1000.0])
def test_a_thread_that_does_not_end_in_time_is_no_longer_waited_for(
    stop: threading.Event, items: list[int], give_up_at: float
) -> None:
    resolved = threading.Event()
    now = 100.0

    def fetch(_item: int) -> bool:
        nonlocal now
        now = give_up_at
        return resolved.wait(60)

    parallel = ParallelRequests(1, name="get-hq", stop=stop, clock=lambda: now)

    assert list(parallel.fetch_all(items, fetch, until=101.0)) == []
    resolved.set()


def test_a_thread_that_runs_is_waited_for_until_it_is_late(stop: threading.Event) -> None:
    checks = 0
    enough = threading.Event()

    def clock() -> float:
        nonlocal checks
        checks += 1
        if checks > 10:
            enough.set()
        return 100.0 if checks < 3 else 101.99

    parallel = ParallelRequests(1, name="get-hq", stop=stop, clock=clock)

    fetched = parallel.fetch_all([1], lambda _item: enough.wait(60), until=101.0)

    assert list(fetched) == [(1, True)]


def test_an_error_ends_only_its_own_group(parallel: ParallelRequests) -> None:
    error = ServerError("answered 503", operation="get")

    def fetch(item: int) -> int:
        if item == 1:
            raise error
        return item

    responses = parallel.fetch_all(
        [1, 2, 3, 4], fetch, group=lambda item: item % 2, ends_group=lambda _error: True
    )

    assert list(responses) == [(1, error), (2, 2), (4, 4)]


def test_without_further_threads_the_requests_follow_each_other(stop: threading.Event) -> None:
    parallel = ParallelRequests(8, name="get-hq", stop=stop)

    with no_more_threads():
        fetched = list(parallel.fetch_all([1, 2, 3], lambda item: item * 10))

    assert fetched == [(1, 10), (2, 20), (3, 30)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is meant
def test_a_thread_that_ends_without_a_response_is_noticed(stop: threading.Event) -> None:
    parallel = ParallelRequests(2, name="get-hq", stop=stop)

    def fetch(item: int) -> int:
        if item == 2:
            raise SystemExit  # as after an error that cannot be passed on: it ends the thread
        return item

    fetched = parallel.fetch_all([1, 2, 3], fetch)

    assert next(fetched) == (1, 1)
    with pytest.raises(RuntimeError, match=r"^a thread ended without a response$"):
        next(fetched)
