"""What a real Prometheus makes of the exporter."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world import World
from support.programs import free_port, program, started
from support.running import running_exporter, server_yaml, wait_until

pytestmark = pytest.mark.e2e


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False


def test_the_first_failed_restore_of_an_organization_is_seen(tmp_path: Path) -> None:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    world.add_session(organization="known.example", type="Vex", state="Stopped", result="Success")
    binary = program("prometheus", "prometheus")
    with Simulator(world) as simulator, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        port = free_port()
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n  - job_name: vb365\n    static_configs:\n"
            f"      - targets: ['{exporter.url.removeprefix('http://')}']\n"
        )
        command = [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with started(command, tmp_path / "prometheus.log"):
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            wait_until(prometheus.ready, "Prometheus is ready", 30)
            wait_until(lambda: prometheus.query("up == 1") != [], "the exporter is scraped", 30)
            zeros = 'count_over_time(vb365_restore_sessions_finished_total{organization="known.example",result="Failed"}[1m]) >= 3'
            wait_until(
                lambda: prometheus.query(zeros) != [],
                "zeros are scraped before anything failed",
                30,
            )
            assert [] == prometheus.query(
                'vb365_restore_sessions_finished_total{result="Failed"} > 0'
            )

            failed = {
                world.add_session(
                    organization=organization, type="Vex", state="Stopped", result="Failed"
                )
                for organization in ("known.example", "new.example")
            }

            grew = 'increase(vb365_restore_sessions_finished_total{result="Failed"}[5m]) > 0'
            wait_until(
                lambda: prometheus.query(grew) != [], "the failure of the known organization", 30
            )
            assert ["known.example"] == [
                found["metric"]["organization"] for found in prometheus.query(grew)
            ]
            recent = (
                'time() - vb365_restore_sessions_last_end_timestamp_seconds{result="Failed"} < 300'
            )
            assert {"known.example", "new.example"} == {
                found["metric"]["organization"] for found in prometheus.query(recent)
            }
            shown = prometheus.query('vb365_restore_session_result{result="Failed"} == 1')
            assert failed == {found["metric"]["session_id"] for found in shown}
            assert [] == prometheus.query("up == 0")


def test_the_shipped_scrape_configuration_is_valid() -> None:
    promtool = program("promtool", "prometheus")
    shipped = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yml"

    checked = subprocess.run(
        [promtool, "check", "config", shipped], capture_output=True, text=True, check=False
    )

    assert 0 == checked.returncode, checked.stderr
