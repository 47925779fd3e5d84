"""Blocking work off the event loop, in threads that never delay process exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from exporter.threads import start_thread

ResultT = TypeVar("ResultT")
ValueT = TypeVar("ValueT")


async def run_in_daemon_thread(function: Callable[[], ResultT]) -> ResultT:
    """Call a function in a thread of its own, and return its result or raise its exception.

    `asyncio.to_thread` would make process exit wait: for a password check that takes minutes, or for a file system
    that does not answer.

    Raises:
        ThreadLimitError: the operating system refuses the thread.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[ResultT] = loop.create_future()

    def settle(set_: Callable[[ValueT], None], value: ValueT) -> None:
        if not outcome.done():
            set_(value)

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                loop.call_soon_threadsafe(settle, outcome.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, outcome.set_result, result)

    start_thread(run, name="web-work")
    return await outcome
