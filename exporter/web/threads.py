"""Blocking work beside the event loop, in threads that do not delay the end of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from exporter.threads import start_thread

ResultT = TypeVar("ResultT")


async def run_in_daemon_thread(function: Callable[[], ResultT]) -> ResultT:
    """Call a function in a thread of its own, and return its result or raise its exception.

    `asyncio.to_thread` would make the process wait at its end: for a password check that takes minutes, or for a file
    system that does not answer.

    Raises:
        ThreadLimitError: no thread can be started.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[ResultT] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            report(lambda error=error: outcome.set_exception(error))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        else:
            report(lambda: outcome.set_result(result))

    def report(set_outcome: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(lambda: None if outcome.done() else set_outcome())

    start_thread(run, name="web-work")
    return await outcome
