"""Parallel requests to one server."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from math import inf
from typing import TypeVar

from exporter.threads import ThreadLimitError, start_thread
from exporter.vb365.errors import Vb365Error, is_server_wide

Item = TypeVar("Item")
Response = TypeVar("Response")
Result = TypeVar("Result")

_ABORT_ALLOWANCE_SECONDS = 1.0
"""How long aborting a request may take: the watchdog notices a passed deadline within a tenth of a second."""

_CHECK_SECONDS = 1.0
"""Between two checks whether the threads are alive."""


class _Skipped:
    """Stands in place of a response that was not requested."""


_SKIPPED = _Skipped()


class ParallelRequests:
    """Makes requests in parallel, in threads that exit when all requests are made.

    The threads are daemons, so that the interpreter does not wait for them at exit: a thread that is resolving a host
    name does not notice a stop.

    Args:
        max_requests: maximum number of requests in flight.
        name: prefix of the threads' names.
        stop: skips the requests that were not sent yet.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        max_requests: int,
        *,
        name: str,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_requests = max_requests
        self._name = name
        self._stop = stop
        self._clock = clock

    def fetch_all(
        self,
        items: Iterable[Item],
        fetch: Callable[[Item], Response],
        *,
        until: float = inf,
        group: Callable[[Item], object] = lambda _item: None,
        ends_group: Callable[[Vb365Error], bool] = is_server_wide,
    ) -> Iterator[tuple[Item, Response | Vb365Error]]:
        """Yield each item with its response or error, except for those that are skipped.

        Args:
            items: what to fetch, in order.
            fetch: fetches one item; called in several threads.
            until: items left at this moment of the monotonic clock are skipped. `fetch` must end at about that time. A
                thread that overruns `until`, because name resolution cannot be interrupted, is abandoned a second later.
            group: what an item belongs to.
            ends_group: whether the items of the same group that are left after this error are skipped.
        """
        ended: set[object] = set()

        def attempt(item: Item) -> Response | Vb365Error | _Skipped:
            if group(item) in ended or self._stop.is_set() or self._clock() >= until:
                return _SKIPPED
            try:
                return fetch(item)
            except Vb365Error as error:
                if ends_group(error):
                    ended.add(group(item))
                return error.with_traceback(None)  # its frames hold the response

        items = tuple(items)
        # A single request needs no extra thread.
        alone = len(items) == 1 and until == inf
        responses = map(attempt, items) if alone else self._map(attempt, items, until)
        for item, response in zip(items, responses, strict=False):
            if not isinstance(response, _Skipped):
                yield item, response

    def _map(
        self, attempt: Callable[[Item], Result], items: Sequence[Item], until: float
    ) -> Iterator[Result]:
        futures: list[Future[Result]] = [Future() for _ in items]
        pending = deque(zip(items, futures, strict=True))

        def work() -> None:
            while pending:
                try:
                    item, future = pending.popleft()
                except IndexError:  # another thread was faster
                    return
                try:
                    future.set_result(attempt(item))
                except Exception as error:  # noqa: BLE001 - raised in the thread that reads the result
                    future.set_exception(error)

        threads: list[threading.Thread] = []
        try:
            for number in range(min(self._max_requests, len(items))):
                try:
                    threads.append(start_thread(work, name=f"{self._name}-{number}"))
                except ThreadLimitError:
                    # Fewer threads take longer; without any, the calling thread makes the requests one after the other.
                    if number == 0:
                        work()
                    break
            for future in futures:
                if not self._wait_for(future, until, threads):
                    return
                yield future.result()
        finally:
            pending.clear()

    def _wait_for(
        self, future: Future[Result], until: float, threads: Sequence[threading.Thread]
    ) -> bool:
        """Wait for a response until a second after `until`, in monotonic seconds; return whether it has arrived.

        Raises:
            RuntimeError: all threads have ended without it; most likely one of them had no memory to pass it on.
        """
        give_up_at = until + _ABORT_ALLOWANCE_SECONDS
        while not wait([future], min(_CHECK_SECONDS, max(0.0, give_up_at - self._clock()))).done:
            if self._clock() >= give_up_at:
                return False
            if not any(thread.is_alive() for thread in threads) and not future.done():
                raise RuntimeError("a thread ended without a response")
        return True
