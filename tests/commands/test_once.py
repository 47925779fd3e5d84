from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.commands.once import poll_once
from exporter.config import parse_config
from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml


class UnpublishedWorker(ServerWorker):
    """A worker whose snapshots cannot be published."""

    def __init__(self, *args: Any, **arguments: Any) -> None:
        def publish(_worker: ServerWorker, _snapshot: Snapshot) -> None:
            raise MemoryError

        super().__init__(*args, **{**arguments, "publish": publish})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_poll_that_broke_off_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    file.write_text("old\n")
    with Simulator(World(activity=False, sessions=5)) as simulator, capture_logs() as logs:
        config = parse_config(f"servers:{server_yaml(simulator)}", directory=tmp_path)
        status = poll_once(config, file, threading.Event(), make_worker=UnpublishedWorker)

    assert (status, file.read_text(), list(tmp_path.iterdir())) == (1, "old\n", [file])
    assert [entry["event"] for entry in logs][-1] == "poll broke off, nothing written"
