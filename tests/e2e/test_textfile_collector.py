"""A real node_exporter reads the file that `--once --output.file` writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.exporter_stepped import Samples, Scrape
from support.processes import HttpProgram, debian_program, free_port, run_exporter, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e


@contextmanager
def node_exporter(directory: Path, log: Path) -> Iterator[str]:
    """Run one that has no other collector than the one for this directory; gives the URL of its metrics."""
    binary = debian_program("prometheus-node-exporter", "prometheus-node-exporter")
    address = f"127.0.0.1:{free_port()}"
    command = [
        binary,
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={directory}",
        f"--web.listen-address={address}",
    ]
    running = HttpProgram(f"http://{address}")
    with running_process(command, log):
        try:
            wait_until(lambda: running.answers("/metrics"), "node_exporter answers", 30)
            yield f"{running.url}/metrics"
        finally:
            running.close()


def collected(url: str) -> Scrape:
    """Return its current samples."""
    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return Scrape(answer.content.decode())


def of_vb365(scrape: Scrape) -> Samples:
    """The samples of the file. node_exporter writes bounds of buckets as 60, the exporter as 60.0."""
    return {
        (
            name,
            frozenset(
                (label, str(float(text)) if label == "le" else text) for label, text in labels
            ),
        ): value
        for (name, labels), value in scrape.samples.items()
        if name.startswith("vb365_")
    }


def test_the_series_arrive_through_node_exporter_and_the_file_has_no_errors(tmp_path: Path) -> None:
    directory = tmp_path / "textfile"
    directory.mkdir()
    file = directory / "vb365.prom"
    world = World(sessions=30, activity=False)
    hangs = world.add_session(organization='Contoso, "Ltd" \\ Käse\nund Öl', type="Vesp")
    with (
        Simulator(world) as simulator,
        node_exporter(directory, tmp_path / "node-exporter.log") as url,
    ):
        config = write_config(tmp_path, server_yaml(simulator), "info_labels: [name]")
        command = (f"--config.file={config}", "--once", f"--output.file={file}")

        assert run_exporter(*command).returncode == 0
        first = collected(url)
        written = Scrape(file.read_text(encoding="utf-8"))
        assert of_vb365(written)
        assert of_vb365(written) == of_vb365(first)
        assert {key: value for key, value in first.samples.items() if "scrape_error" in key[0]} == {
            ("node_textfile_scrape_error", frozenset[tuple[str, str]]()): 0.0
        }
        assert [
            dict(labels)["file"]
            for name, labels in first.samples
            if name == "node_textfile_mtime_seconds"
        ] == [str(file)]
        assert first.value("vb365_up", "hq") == 1
        state = {"Working": 1.0, "Stopped": 0.0}
        assert {
            dict(labels)["state"]: value
            for (name, labels), value in first.samples.items()
            if name == "vb365_restore_session_state" and ("session_id", hangs) in labels
        } == state

        world.finish(hangs, "Failed")
        assert run_exporter(*command).returncode == 0
        second = collected(url)
        assert [
            (value, dict(labels)["result"])
            for (name, labels), value in second.samples.items()
            if name == "vb365_restore_session_result" and ("session_id", hangs) in labels and value
        ] == [(1.0, "Failed")]

        simulator.faults.set("status_503")
        assert run_exporter(*command).returncode == 1
        failed = collected(url)
        assert failed.value("vb365_up", "hq") == 0
        assert failed.samples["node_textfile_scrape_error", frozenset()] == 0
