"""What a real Prometheus makes of the exporter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world import World
from support.programs import program
from support.prometheus import scraped_by_prometheus
from support.running import running_exporter, server_yaml, wait_until

pytestmark = pytest.mark.e2e


def test_the_first_failed_restore_of_an_organization_is_seen(tmp_path: Path) -> None:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    world.add_session(organization="known.example", type="Vex", state="Stopped", result="Success")
    with Simulator(world) as simulator, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        with scraped_by_prometheus(exporter.url.removeprefix("http://"), tmp_path) as prometheus:
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
