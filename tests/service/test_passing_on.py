"""Sessions found, started or finished are passed on once, whoever polls the server from then on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from exporter.config import Config, parse_config
from exporter.polling.clock import Moment
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from exporter.threads import ThreadLimitError
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import NOON, running, session_id
from support.thread_limit import no_more_threads
from support.waiting import wait_until

FOUND = ("hq", session_id(1))


def configuration(*names: str, timeout: str = "30s", more: str = "") -> Config:
    servers = "".join(
        f"  - {{name: {name}, url: 'https://127.0.0.1:1', timeout: {timeout}, "
        f"auth: {{username: a, password: b}}{more}}}\n"
        for name in names
    )
    return parse_config(f"servers:\n{servers}", directory=Path.cwd())


class FindingWorker(ServerWorker):
    """Polls once; it is stopped during this poll, which finds a session."""

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def poll_until_stopped(self) -> None:
        self.has_begun.set()
        self.stopped.wait()
        self.may_end.wait()
        self.state.ledger.observe([running(1)], Moment(monotonic=0.0, wall=NOON))


class Fixture:
    """A service of such workers.

    Attributes:
        workers: all that it has made.
        passed_on: the server and the id of each session that they have passed on.
    """

    def __init__(self, kind: type[FindingWorker] = FindingWorker) -> None:
        self._kind = kind
        self.workers: list[FindingWorker] = []
        self.passed_on: list[tuple[str, str]] = []
        self.service = Service(configuration("hq"), make_worker=self._make_worker)
        self.service.on_changed = self._record
        self.service.start()
        assert self.workers[0].has_begun.wait(60)

    def stop(self) -> None:
        """Stop the service, and wait for the polls of all workers."""
        self.service.stop()
        for worker in self.workers:
            worker.join_polls()

    def _make_worker(self, *args: Any, **arguments: Any) -> ServerWorker:
        self.workers.append(self._kind(*args, **arguments))
        return self.workers[-1]

    def _record(self, server: str, sessions: tuple[RestoreSession, ...]) -> None:
        self.passed_on += [(server, session.id) for session in sessions]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(configuration("other"), id="removed"),
        pytest.param(
            configuration("hq", more=f", sessions: {{ids: [{session_id(2)}]}}"), id="other sessions"
        ),
    ],
)
def test_a_worker_with_whose_state_no_other_continues_passes_on_what_it_has_found(
    config: Config,
) -> None:
    fixture = Fixture()

    fixture.service.apply(config)
    fixture.workers[0].join_polls()

    assert fixture.passed_on == [FOUND]
    fixture.stop()


def test_a_service_that_stops_passes_on_what_was_found() -> None:
    fixture = Fixture()

    fixture.stop()

    assert fixture.passed_on == [FOUND]


def test_a_worker_leaves_what_it_has_found_to_the_one_that_continues_with_its_state() -> None:
    fixture = Fixture()

    fixture.service.apply(configuration("hq", timeout="9s"))
    fixture.workers[0].join_polls()
    before = list(fixture.passed_on)
    assert fixture.workers[1].has_begun.wait(60)
    fixture.stop()

    assert (before, fixture.passed_on) == ([], [FOUND])


class LateWorker(FindingWorker):
    """Waits for its turn if it replaces another worker."""

    def begin(self, after_seconds: float = 0.0) -> None:
        super().begin(3600.0 if self.server.timeout == 9.0 else after_seconds)


@pytest.mark.parametrize("kind", [FindingWorker, LateWorker])
def test_a_worker_that_never_polled_passes_on_what_the_one_before_it_has_found(
    kind: type[FindingWorker],
) -> None:
    fixture = Fixture(kind)
    fixture.workers[0].may_end.clear()

    fixture.service.apply(configuration("hq", timeout="9s"))
    fixture.service.apply(configuration("other"))
    assert fixture.workers[2].has_begun.wait(60)
    fixture.workers[0].may_end.set()
    fixture.workers[1].join_polls()

    assert not fixture.workers[1].has_begun.is_set()
    assert fixture.passed_on == [FOUND]
    fixture.stop()


@pytest.mark.parametrize("more", ["", f", sessions: {{ids: [{session_id(2)}]}}"])
def test_a_configuration_that_is_not_activated_leaves_what_was_found_to_the_current_worker(
    more: str,
) -> None:
    class LastRefused(FindingWorker):
        def start(self) -> None:
            if self.server.name == "refused":
                with no_more_threads():
                    super().start()
            super().start()

    fixture = Fixture(LastRefused)

    with pytest.raises(ThreadLimitError):
        fixture.service.apply(configuration("hq", "refused", timeout="9s", more=more))
    wait_until(lambda: not fixture.workers[1].is_running, "the end of the worker")

    assert fixture.passed_on == []
    fixture.stop()
