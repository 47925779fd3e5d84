"""Asking one server for several things at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from exporter.polling.failure import is_server_wide
from exporter.vb365.errors import Vb365Error

__all__ = ["Workers"]

Answer = TypeVar("Answer")
Wanted = TypeVar("Wanted")


class Workers:
    """Threads that exist from the first use on.

    Args:
        most: how many requests are under way at the most.
        name: what the names of the threads begin with.
        stop: abandons what is not asked for yet.
    """

    def __init__(self, most: int, *, name: str, stop: threading.Event) -> None:
        self._pool = ThreadPoolExecutor(max_workers=most, thread_name_prefix=name)
        self._stop = stop

    def ask_all(
        self, wanted: Iterable[Wanted], ask: Callable[[Wanted], Answer]
    ) -> Iterator[tuple[Wanted, Answer | Vb365Error]]:
        """Each thing that is wanted, with the answer or the error; ends early when the server itself is the trouble."""
        abandon = threading.Event()

        def asked(one: Wanted) -> Answer | Vb365Error | None:
            if abandon.is_set() or self._stop.is_set():
                return None
            try:
                return ask(one)
            except Vb365Error as error:
                if is_server_wide(error):
                    abandon.set()
                return error

        wanted = tuple(wanted)
        answers = map(asked, wanted) if len(wanted) == 1 else self._pool.map(asked, wanted)
        for one, answer in zip(wanted, answers, strict=True):
            if answer is not None:
                yield one, answer

    def close(self) -> None:
        """End the threads as soon as they have nothing under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
