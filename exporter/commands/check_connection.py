"""`--check-connection`: try every server step by step, and print what each step finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue

from exporter.commands.connection.finding import Finding, Verdict, finding_text
from exporter.commands.connection.steps import check_server
from exporter.commands.fetching import LOGOUT_SECONDS, join_until
from exporter.config import Config, ServerConfig
from exporter.system.files import write_stdout
from exporter.system.signals import WAKE_SECONDS
from exporter.text import one_line
from exporter.threads import start_thread
from exporter.web.status.formatting import counted

_LAST_STEP = "organizations"


def check_connection(config: Config, stop: threading.Event) -> int:
    """Check all servers concurrently and print the findings in the order of the configuration.

    Return the exit status: 0 if no step of any server failed, else 1; 1 after a stop.

    Raises:
        OutputError: standard output cannot be written.
        ThreadLimitError: the process cannot have a thread for each server.
    """
    queues = [SimpleQueue[Finding | None]() for _ in config.servers]
    threads = [
        start_thread(partial(_run, server, stop, queue), name=f"check-{server.name}")
        for server, queue in zip(config.servers, queues, strict=True)
    ]
    failed: dict[str, str] = {}
    for server, queue in zip(config.servers, queues, strict=True):
        _print(f"{one_line(server.name)}: {server.url}\n")
        step = ""
        for finding in _until_done(queue, stop):
            _print(finding_text(finding))
            step = finding.step
            if finding.verdict is Verdict.FAIL:
                failed.setdefault(server.name, step)
        if stop.is_set():
            _print("stopped before every server was checked\n")
            join_until(threads, time.monotonic() + LOGOUT_SECONDS)
            return 1
        if step != _LAST_STEP and server.name not in failed:
            failed[server.name] = "unexpected error, see the log"
        _print("\n")
    _print(_summary(len(config.servers), failed))
    return 1 if failed else 0


def _run(server: ServerConfig, stop: threading.Event, queue: SimpleQueue[Finding | None]) -> None:
    try:
        for finding in check_server(server, stop):
            queue.put(finding)
    finally:
        queue.put(None)


def _until_done(queue: SimpleQueue[Finding | None], stop: threading.Event) -> Iterator[Finding]:
    """Yield findings until the server's check has ended or `stop` is set."""
    while not stop.is_set():
        try:
            finding = queue.get(timeout=WAKE_SECONDS)
        except Empty:
            continue
        if finding is None:
            return
        if not stop.is_set():
            yield finding


def _summary(servers: int, failed: dict[str, str]) -> str:
    if failed:
        names = ", ".join(f"{one_line(name)} ({step})" for name, step in failed.items())
        return f"{len(failed)} of {counted(servers, 'server')} failed: {names}\n"
    return f"{counted(servers, 'server')} checked, no step failed\n"


def _print(text: str) -> None:
    write_stdout([text.encode()])
