"""Parallel requests to one server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from exporter.polling.status import is_server_wide
from exporter.vb365.errors import Vb365Error

__all__ = ["Workers"]

Item = TypeVar("Item")
Response = TypeVar("Response")
Result = TypeVar("Result")


class Workers:
    """Makes requests in parallel, in threads that exit when all requests are made.

    The threads are daemons, so that the interpreter does not wait for them at exit: a thread that is resolving a host
    name does not notice a stop.

    Args:
        max_requests: maximum number of requests in flight.
        name: prefix of the threads' names.
        stop: skips the requests that were not sent yet.
    """

    def __init__(self, max_requests: int, *, name: str, stop: threading.Event) -> None:
        self._max_requests = max_requests
        self._name = name
        self._stop = stop

    def fetch_all(
        self, items: Iterable[Item], fetch: Callable[[Item], Response]
    ) -> Iterator[tuple[Item, Response | Vb365Error]]:
        """Yield each item with its response or error; items left after a server-wide error are skipped."""
        abandoned = threading.Event()

        def attempt(item: Item) -> Response | Vb365Error | None:
            if abandoned.is_set() or self._stop.is_set():
                return None
            try:
                return fetch(item)
            except Vb365Error as error:
                if is_server_wide(error):
                    abandoned.set()
                return error

        items = tuple(items)
        # A single request needs no extra thread.
        responses = map(attempt, items) if len(items) == 1 else self._map(attempt, items)
        for item, response in zip(items, responses, strict=True):
            if response is not None:
                yield item, response

    def _map(self, attempt: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
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

        for number in range(min(self._max_requests, len(items))):
            name = f"{self._name}-{number}"
            threading.Thread(target=work, name=name, daemon=True).start()
        try:
            for future in futures:
                yield future.result()
        finally:
            pending.clear()
