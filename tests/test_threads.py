from __future__ import annotations

import threading

import pytest

from exporter.threads import ThreadLimitError, start_thread
from support.thread_limit import no_memory_in_new_threads, no_more_threads


def test_the_body_runs_in_a_daemon_thread_of_that_name() -> None:
    ran_in: list[threading.Thread] = []

    thread = start_thread(lambda: ran_in.append(threading.current_thread()), name="poll-hq")
    thread.join()

    assert ran_in == [thread]
    assert (thread.name, thread.daemon, thread.is_alive()) == ("poll-hq", True, False)


def test_a_thread_that_the_operating_system_refuses_is_an_error() -> None:
    with no_more_threads(), pytest.raises(ThreadLimitError, match="cannot start thread poll-hq"):
        start_thread(lambda: None, name="poll-hq")


def test_a_thread_that_ends_before_it_has_started_is_an_error() -> None:
    called = threading.Event()

    with no_memory_in_new_threads(), pytest.raises(ThreadLimitError, match="lost"):
        start_thread(called.set, name="lost", start_seconds=0.1)

    assert not called.is_set()
