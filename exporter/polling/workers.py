"""Parallel requests to one server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from exporter.polling.status import is_server_wide
from exporter.vb365.errors import Vb365Error

__all__ = ["Workers"]

Item = TypeVar("Item")
Response = TypeVar("Response")


class Workers:
    """A pool of threads, started at first use.

    Args:
        max_requests: the most requests in flight.
        name: prefix of the threads' names.
        stop: abandons the requests that were not sent yet.
    """

    def __init__(self, max_requests: int, *, name: str, stop: threading.Event) -> None:
        self._pool = ThreadPoolExecutor(max_workers=max_requests, thread_name_prefix=name)
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
        # A single request needs no other thread.
        responses = map(attempt, items) if len(items) == 1 else self._pool.map(attempt, items)
        for item, response in zip(items, responses, strict=True):
            if response is not None:
                yield item, response

    def close(self) -> None:
        """Stop the threads once their requests in flight have ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)
