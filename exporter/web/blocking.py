"""Blocking work off the event loop, in threads that never delay process exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from exporter.threads import start_thread

ResultT = TypeVar("ResultT")


async def run_in_daemon_thread(function: Callable[[], ResultT]) -> ResultT:
    """Call a function in a thread of its own, and return its result or raise its exception.

    `asyncio.to_thread` would make process exit wait: for a password check that takes minutes, or for a file system
    that does not answer.

    Raises:
        ThreadLimitError: the operating system refuses the thread.
    """
    outcome: Future[ResultT] = Future()

    def run() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            outcome.set_exception(error)

    start_thread(run, name="web-work")
    return await asyncio.wrap_future(outcome)
