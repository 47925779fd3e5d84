"""A second scraper, which shares no code with Prometheus, scrapes the running command."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.exporter_stepped import Samples, Scrape
from support.processes import EXPORTER, free_port, running_process
from support.victoriametrics_process import VictoriaMetrics, running_victoria_metrics
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("release")]

JOBS = ("compressed", "plain")
# What changes only when the server or its sessions do.
NAMES = "vb365_(up|restore_.+)"
# VictoriaMetrics rounds to 15 digits; a time of today has 16. This is half a unit of the 15th digit, where that weighs most.
ROUNDED_BY = 5e-15
HOSTILE = 'Contoso, "Ltd" \\ Käse\nund Öl'


def served(address: str) -> Samples:
    """The samples with those names as the exporter serves them now."""
    answer = requests.get(f"http://{address}/metrics", timeout=30)
    answer.raise_for_status()
    scrape = Scrape(answer.content.decode())
    return {**scrape.of("hq"), **scrape.of("hq", "vb365_up")}


def wait_for_the_same(victoria: VictoriaMetrics, address: str, what: str) -> Samples:
    """Wait until both jobs have exactly the series and values served."""

    def same() -> bool:
        now = pytest.approx(served(address), rel=ROUNDED_BY)
        return all(now == victoria.samples(job, NAMES) for job in JOBS)

    wait_until(same, what, 60, pause_seconds=0.2)
    return victoria.samples(JOBS[0], NAMES)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The value of the one sample that has at least these labels."""
    found = [
        number
        for (sample, of_sample), number in samples.items()
        if sample == name and labels.items() <= dict(of_sample).items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_it_has_the_served_series_and_values_compressed_or_not(tmp_path: Path) -> None:
    world = World(sessions=40, organizations=3, activity=False)
    fails = world.add_session(organization=HOSTILE, type="Vet")
    address = f"127.0.0.1:{free_port()}"
    jobs = [
        {
            "job_name": job,
            "disable_compression": job == "plain",
            "static_configs": [{"targets": [address]}],
        }
        for job in JOBS
    ]
    with Simulator(world) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        command = [*EXPORTER, f"--config.file={config}", f"--web.listen-address={address}"]
        with (
            running_process(command, tmp_path / "exporter.log"),
            running_victoria_metrics(jobs, tmp_path / "victoria") as victoria,
        ):
            wait_until(lambda: value(victoria.samples("plain", "up"), "up") == 1, "scraped", 60)
            before = wait_for_the_same(victoria, address, "the sessions as they were found")
            mine = {"session_id": fails, "organization": HOSTILE, "type": "Vet"}
            assert value(before, "vb365_up", server="hq") == 1
            assert value(before, "vb365_restore_session_state", state="Working", **mine) == 1
            assert None is value(before, "vb365_restore_session_duration_seconds", **mine)

            world.finish(fails, "Failed")
            wait_until(
                lambda: (
                    value(served(address), "vb365_restore_session_result", result="Failed", **mine)
                    == 1
                ),
                "the exporter has seen it",
            )
            after = wait_for_the_same(victoria, address, "one of them has failed")
            assert value(after, "vb365_restore_session_state", state="Working", **mine) == 0
            assert value(after, "vb365_restore_session_result", result="Failed", **mine) == 1
            (truth,) = (session for session in world.sessions() if session.id == fails)
            assert truth.end_time is not None
            seconds = (truth.end_time - truth.creation_time).total_seconds()
            assert value(after, "vb365_restore_session_duration_seconds", **mine) == seconds

            simulator.faults.set("status_503")
            wait_until(lambda: value(served(address), "vb365_up") == 0, "the server fails")
            down = wait_for_the_same(victoria, address, "the server is down")
            assert value(down, "vb365_up", server="hq") == 0
            assert value(down, "vb365_restore_session_result", result="Failed", **mine) == 1

            # Of two equal jobs, the compressed one received a fraction of its expositions' size.
            received = victoria.own("vm_promscrape_conn_bytes_read_total")
            assert received < 0.75 * victoria.own("vm_promscrape_scrape_response_size_bytes_sum")
