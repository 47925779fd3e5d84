"""The command as a user runs it."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import pytest
import requests

from exporter import __version__
from support.processes import EXPORTER, free_port, run_exporter, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

FIVE_MISTAKES = """\
poll_interval: 5
servers:
  - name: hq
    url: http://vb365.example.com:4443
    auth: {username: monitoring}
    sessions: {ids: [not-a-uuid]}
    pasword: hunter2
"""


def test_a_configuration_with_five_mistakes_prints_five_lines_that_name_the_place(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(FIVE_MISTAKES)

    checked = run_exporter(f"--config.file={config}", "--config.check")

    lines = checked.stderr.splitlines()
    assert sorted(line.partition(": ")[0] for line in lines) == [
        "poll_interval",
        "servers[0].auth",
        "servers[0].pasword",
        "servers[0].sessions.ids[0]",
        "servers[0].url",
    ]
    assert checked.returncode == 1
    assert "hunter2" not in checked.stderr


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    missing = run_exporter(f"--config.file={tmp_path / 'absent.yaml'}", "--config.check")

    assert missing.returncode == 1
    assert "absent.yaml: " in missing.stderr


def test_version_and_usage() -> None:
    assert run_exporter("--version").stdout.startswith(
        f"vb365-restore-exporter, version {__version__} (python 3."
    )
    assert run_exporter("--no-such-flag").returncode == 2
    wrong = run_exporter(environ={"VB365_EXPORTER_LOG_LEVEL": "loud"})
    assert wrong.returncode == 2
    assert "VB365_EXPORTER_LOG_LEVEL" in wrong.stderr


def test_a_configuration_that_cannot_be_used_or_a_taken_port_end_the_command(
    tmp_path: Path,
) -> None:
    unusable = run_exporter(f"--config.file={tmp_path / 'absent.yaml'}")
    assert unusable.returncode == 1
    assert "level=ERROR" in unusable.stderr

    address = f"--web.listen-address=127.0.0.1:{free_port()}"
    with running_process([*EXPORTER, "--demo", address], tmp_path / "first.log"):
        wait_until(lambda: "Ctrl-C" in (tmp_path / "first.log").read_text(), "the demo")
        taken = run_exporter("--demo", address)
    assert taken.returncode == 1
    assert "cannot serve" in taken.stderr
    assert "--web.listen-address" in taken.stderr
    assert taken.stdout == ""


def test_the_demo_shows_sessions_that_start_and_end_and_stops_cleanly(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "demo.log"

    def metrics() -> str:
        try:
            return requests.get(f"{url}/metrics", timeout=30).text
        except requests.ConnectionError:
            return ""

    def total(text: str, name: str) -> float:
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(name + "{")
        )

    with running_process(
        [*EXPORTER, "--demo", f"--web.listen-address=127.0.0.1:{port}"], log
    ) as process:
        wait_until(lambda: 'vb365_up{server="demo"} 1.0' in metrics(), "the first poll", 30)
        first = metrics()
        assert (
            'state="Working",type="Vex"} 1.0' in first
            or total(first, "vb365_restore_sessions_working") > 0
        )
        assert 'state="Stopped"' in first
        assert 'vb365_server_tls_verified{server="demo"} 1.0' in first
        assert f"{url}/metrics" in log.read_text()
        wait_until(
            lambda: total(metrics(), "vb365_restore_sessions_started_total") > 0,
            "a session starts",
            60,
        )
        wait_until(
            lambda: total(metrics(), "vb365_restore_sessions_finished_total") > 0,
            "a session ends",
            60,
        )

        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    _, stopped, end = log.read_text().partition("msg=stopped\n")
    assert stopped
    assert "--config.check" in end
    assert "demo:demo" not in log.read_text()


def test_a_server_that_does_not_exist_keeps_the_exporter_running(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "servers:\n  - url: https://vb365.invalid:4443\n    timeout: 1s\n    poll_interval: 1s\n"
        "    auth: {username: a, password: marker-5e1f}\n"
    )
    port = free_port()
    with running_process(
        [
            *EXPORTER,
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.format=json",
        ],
        tmp_path / "log",
    ) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(
            lambda: 'msg":"started"' in (tmp_path / "log").read_text().replace('": "', '":"'),
            "started",
        )
        wait_until(
            lambda: (
                'vb365_up{server="vb365.invalid"} 0.0'
                in requests.get(f"{url}/metrics", timeout=30).text
            ),
            "a failed poll",
        )
        assert requests.get(f"{url}/-/healthy", timeout=30).ok
        assert requests.get(f"{url}/-/ready", timeout=30).ok
        assert process.poll() is None
    assert "marker-5e1f" not in (tmp_path / "log").read_text()


def test_the_simulator_can_be_reached_by_a_client_that_trusts_its_authority(tmp_path: Path) -> None:
    port = free_port()
    ca_file = tmp_path / "ca.pem"
    command: list[str | Path] = [
        EXPORTER[0],
        "-m",
        "exporter.simulator",
        f"--web.listen-address=127.0.0.1:{port}",
        "--tls.ca-file",
        ca_file,
    ]
    with running_process(command, tmp_path / "log"):
        wait_until(ca_file.exists, "the authority's certificate")
        assert len(ssl.create_default_context(cafile=str(ca_file)).get_ca_certs()) == 1
        wait_until(lambda: f"127.0.0.1:{port}" in (tmp_path / "log").read_text(), "the URL")
        answer = requests.get(
            f"https://127.0.0.1:{port}/v8/ServiceInstance", verify=str(ca_file), timeout=5
        )
        assert answer.status_code == 401
        assert answer.content == b""
