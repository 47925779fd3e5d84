from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import Config, parse_config
from exporter.polling.snapshot import Snapshot
from exporter.service.service import Service
from support.waiting import wait_until


def configuration(poll_interval: str, name: str = "hq") -> Config:
    return parse_config(
        f"poll_interval: {poll_interval}\nservers:\n"
        f"  - {{name: {name}, url: 'https://127.0.0.1:1', auth: {{username: a, password: b}}}}",
        directory=Path.cwd(),
    )


def test_polls_of_a_server_do_not_overlap_with_those_from_before_it_was_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    may_end = threading.Event()

    class StubLoop:
        def __init__(self, *_args: object, stop: threading.Event, **_more: object) -> None:
            self.stop = stop

        def run(self) -> None:
            events.append("begins")
            self.stop.wait()
            may_end.wait()
            events.append("ends")

    monkeypatch.setattr("exporter.service.server_worker.PollLoop", StubLoop)
    service = Service(configuration("1s"))
    service.start()
    wait_until(lambda: events == ["begins"], "the first poller")

    service.apply(configuration("2s"))
    threading.Timer(0.2, may_end.set).start()
    wait_until(lambda: len(events) >= 3, "the second poller")
    service.stop()

    assert events[:3] == ["begins", "ends", "begins"]


def test_a_poller_that_was_stopped_does_not_bring_back_what_was_withdrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publishers = []

    class StubPoller:
        def __init__(
            self, *_args: object, publish: Callable[[Snapshot], None], **_more: object
        ) -> None:
            publishers.append(publish)
            self.polled_once = threading.Event()

    class StubLoop:
        def __init__(self, *_args: object, **_more: object) -> None:
            """Nothing: the test publishes."""

        def run(self) -> None:
            """The same."""

    monkeypatch.setattr("exporter.service.server_worker.Poller", StubPoller)
    monkeypatch.setattr("exporter.service.server_worker.PollLoop", StubLoop)
    service = Service(configuration("1s"))
    service.start()
    publishers[0](Snapshot(server="hq"))
    assert [snapshot.server for snapshot in service.publisher.snapshots()] == ["hq"]

    service.apply(configuration("1s", name="renamed"))
    publishers[0](Snapshot(server="hq"))

    assert service.publisher.snapshots() == ()


def test_a_service_that_has_not_started_yet_is_not_ready() -> None:
    assert Service(configuration("1s")).unpolled_servers() == ("hq",)


def test_stopping_also_ends_the_threads_of_servers_that_left() -> None:
    before = set(threading.enumerate())
    service = Service(configuration("1s"))
    service.start()
    service.apply(configuration("2s"))
    service.stop()

    # A thread that is resolving a name ends when the resolver does.
    left = set(threading.enumerate()) - before
    wait_until(lambda: not any(map(threading.Thread.is_alive, left)), "the end of the threads")
