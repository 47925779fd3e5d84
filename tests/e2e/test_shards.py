"""Several instances that share the servers."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from exporter.config.sharding import shard_for
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, free_port, run_exporter, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e


def test_each_of_two_shards_polls_its_own_servers(tmp_path: Path) -> None:
    names = ("hq", "paris")
    assert [shard_for(name, 2) for name in names] == [0, 1]
    with Simulator(World(activity=False, sessions=0)) as simulator:
        config = write_config(
            tmp_path, "".join(server_yaml(simulator, name) for name in names), "poll_interval: 1m"
        )
        shown = [
            run_exporter(
                f"--config.file={config}",
                "--once",
                environ={
                    "VB365_EXPORTER_SHARD": str(shard),
                    "VB365_EXPORTER_TOTAL_SHARDS": "2",
                },
            ).stdout
            for shard in range(2)
        ]

    for name, text in zip(names, shown, strict=True):
        assert [line for line in text.splitlines() if line.startswith("vb365_up{")] == [
            f'vb365_up{{server="{name}"}} 1.0'
        ]


def test_a_shard_without_servers_logs_it_and_is_healthy_and_ready(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    with Simulator(World(activity=False, sessions=0)) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        command = [
            *EXPORTER,
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--shard={1 - shard_for('hq', 2)}",
            "--total-shards=2",
        ]
        with running_process(command, log):
            wait_until(lambda: "msg=started" in log.read_text(), "started")
            answers = {
                path: requests.get(f"http://127.0.0.1:{port}{path}", timeout=30)
                for path in ("/-/healthy", "/-/ready", "/metrics", "/")
            }
        requests_sent = simulator.requests

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        answers, 200
    )
    assert "vb365_exporter_build_info" in answers["/metrics"].text
    assert "server=" not in answers["/metrics"].text
    assert not requests_sent
    shards = f"shard={1 - shard_for('hq', 2)} total_shards=2"
    warning, start = log.read_text().splitlines()[:2]
    assert "level=WARN source=cli.py" in warning
    assert f'msg="no server belongs to this shard, nothing is polled" {shards}' in warning
    assert f"servers=0 {shards} " in start


def test_a_mistake_in_any_shards_server_is_an_error_in_every_shard(tmp_path: Path) -> None:
    config = write_config(
        tmp_path, "\n  - {name: hq, url: https://a, auth: {username: a, password_file: absent}}\n"
    )

    for shard in range(2):
        wrong = run_exporter(
            f"--config.file={config}", "--once", f"--shard={shard}", "--total-shards=2"
        )
        assert wrong.returncode == 1
        assert "place=servers[0].auth.password_file" in wrong.stderr
