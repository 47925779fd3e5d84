"""What is served while polls are not completed or a poll loop has ended, over real HTTP and with real threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import RunningExporter, running_exporter, server_yaml
from support.waiting import wait_until

SESSION_STATE = "vb365_restore_session_state"
FAILURES = "vb365_poll_failures_total"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(World(activity=False, sessions=20)) as simulator:
        yield simulator


class UnpublishedWorker(ServerWorker):
    """A worker whose snapshots cannot be published while `broken` is set."""

    broken = threading.Event()

    def __init__(self, *args: Any, publish: Any, **arguments: Any) -> None:
        def publish_unless_broken(worker: ServerWorker, snapshot: Snapshot) -> None:
            if self.broken.is_set():
                raise MemoryError
            publish(worker, snapshot)

        super().__init__(*args, publish=publish_unless_broken, **arguments)


class EndingWorker(ServerWorker):
    """A worker whose poll loop ends when `ends` is set."""

    ends = threading.Event()

    def poll_until_stopped(self) -> None:
        if not self.ends.is_set():
            self.poller.poll()
            self.ends.wait()
        else:
            super().poll_until_stopped()


def up(exporter: RunningExporter) -> float | None:
    return exporter.value("vb365_up", server="hq")


def test_a_poll_that_cannot_be_published_shows_up_0_with_its_sessions_until_one_can(
    simulator: Simulator,
) -> None:
    UnpublishedWorker.broken.clear()
    with running_exporter(server_yaml(simulator), make_worker=UnpublishedWorker) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        sessions = exporter.samples(SESSION_STATE)

        UnpublishedWorker.broken.set()
        exporter.wait_for(0, "vb365_up", server="hq")
        assert exporter.samples(SESSION_STATE) == sessions
        assert exporter.get("/-/healthy").status_code == 200
        broken = exporter.value(FAILURES, server="hq", reason="internal")
        assert broken is not None
        assert broken > 0

        UnpublishedWorker.broken.clear()
        exporter.wait_for(1, "vb365_up", server="hq")


def test_a_poll_loop_that_ended_shows_up_0_and_unhealthy_until_it_is_started_again(
    simulator: Simulator,
) -> None:
    EndingWorker.ends.clear()
    servers = server_yaml(simulator) + server_yaml(simulator, "branch")
    with running_exporter(servers, make_worker=EndingWorker) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        exporter.wait_for(1, "vb365_up", server="branch")
        assert exporter.get("/-/healthy").status_code == 200

        EndingWorker.ends.set()
        exporter.wait_for(0, "vb365_up", server="hq")
        exporter.wait_for(0, "vb365_up", server="branch")
        problems = "not healthy\nhq: its poll loop is stuck\nbranch: its poll loop is stuck\n"
        wait_until(lambda: exporter.get("/-/healthy").text == problems, "both threads have ended")
        assert exporter.get("/-/healthy").status_code == 503

        exporter.service.supervise()
        assert exporter.get("/-/healthy").status_code == 200
        exporter.wait_for(1, "vb365_up", server="hq")
        exporter.wait_for(1, "vb365_up", server="branch")
