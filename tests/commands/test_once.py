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
from support.exporter_stepped import Scrape


class UnpublishedWorker(ServerWorker):
    """A worker whose snapshots cannot be published."""

    def __init__(self, *args: Any, **arguments: Any) -> None:
        def publish(_worker: ServerWorker, _snapshot: Snapshot) -> None:
            raise MemoryError

        super().__init__(*args, **{**arguments, "publish": publish})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_poll_that_is_not_completed_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    file.write_text("old\n")
    with Simulator(World(activity=False, sessions=5)) as simulator, capture_logs() as logs:
        config = parse_config(f"servers:{server_yaml(simulator)}", directory=tmp_path)
        status = poll_once(config, file, threading.Event(), make_worker=UnpublishedWorker)

    assert (status, file.read_text(), list(tmp_path.iterdir())) == (1, "old\n", [file])
    assert [entry["event"] for entry in logs][-1] == "poll not completed, nothing written"


def written(directory: Path, name: str) -> Scrape:
    """Poll a small simulated server of this name once, and return what its file holds."""
    file = directory / f"{name}.prom"
    with Simulator(World(sessions=3, activity=False)) as simulator:
        text = f"servers:\n{server_yaml(simulator, name)}"
        status = poll_once(parse_config(text, directory=directory), file, threading.Event())
    assert status == 0
    return Scrape(file.read_text(encoding="utf-8"))


def test_every_series_of_a_file_has_the_label_of_its_server(tmp_path: Path) -> None:
    scrape = written(tmp_path, "hq")

    servers = {dict(labels).get("server") for _, labels in scrape.samples}
    assert servers == {"hq"}


def test_files_of_two_servers_have_no_series_in_common(tmp_path: Path) -> None:
    first, second = (written(tmp_path, name) for name in ("hq", "branch"))

    assert first.samples.keys() & second.samples.keys() == set()


def test_a_family_without_a_server_is_not_even_described(tmp_path: Path) -> None:
    written(tmp_path, "hq")

    text = (tmp_path / "hq.prom").read_text(encoding="utf-8")
    assert "vb365_exporter_" not in text
    assert "python_" not in text
    assert "# HELP vb365_polls_total " in text
