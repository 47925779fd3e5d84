"""The command without everything that Windows does not have."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support import windows_emulation
from support.exporter_harness import server_yaml, write_config
from support.exporter_stepped import Scrape
from support.processes import clean_environment, free_port, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

COMMAND = (sys.executable, "-W", "error", "-m", windows_emulation.__name__)


@pytest.fixture(autouse=True)
def path_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(windows_emulation.__file__).parents[1]))


def quiet_world() -> World:
    return World(activity=False, sessions=20)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_module_can_be_loaded() -> None:
    loaded = run("--version")

    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert loaded.stdout.startswith("vb365-restore-exporter, version ")


def test_a_configuration_is_checked(tmp_path: Path) -> None:
    with Simulator(quiet_world()) as simulator:
        good = run(
            f"--config.file={write_config(tmp_path, server_yaml(simulator))}", "--config.check"
        )
    bad = run(f"--config.file={write_config(tmp_path, ' []')}", "--config.check")

    assert (good.returncode, good.stderr) == (0, "")
    assert "config.yaml is valid: 1 server; " in good.stdout
    assert (bad.returncode, bad.stderr[:9]) == (1, "servers: ")


def test_servers_are_polled_once_and_the_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    file.write_text("old")
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        once = run(f"--config.file={config}", "--once", f"--output.file={file}")

    assert (once.returncode, once.stdout) == (0, "")
    scrape = Scrape(file.read_text(encoding="utf-8"))
    assert scrape.value("vb365_up", "hq") == 1
    assert scrape.of("hq", "vb365_restore_session_state")


def test_sessions_are_listed(tmp_path: Path) -> None:
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        listed = run(f"--config.file={config}", "--list-sessions=json")
        truth = {session.id for session in simulator.world.sessions()}

    assert listed.returncode == 0
    assert {one["id"] for one in json.loads(listed.stdout)} == truth


def test_a_socket_of_systemd_is_refused_in_one_line(tmp_path: Path) -> None:
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        refused = run(f"--config.file={config}", "--web.systemd-socket")

    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "systemd passed no socket" in line


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(signal.SIGINT, id="Ctrl+C"),
        pytest.param(signal.SIGUSR1, id="Ctrl+Break"),  # the stand-in for SIGBREAK
        signal.SIGTERM,
    ],
)
def test_the_daemon_serves_reloads_by_a_request_and_stops(
    tmp_path: Path, stop: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))  # nothing can be sent there
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path / "log"
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        command = [
            *COMMAND,
            f"--config.file={config}",
            f"--web.listen-address={address}",
            "--web.enable-lifecycle",
        ]

        def up(server: str) -> bool:
            try:
                text = requests.get(f"http://{address}/metrics", timeout=30).text
            except requests.ConnectionError:
                return False
            return Scrape(text).value("vb365_up", server) == 1

        with running_process(command, log) as process:
            wait_until(lambda: up("hq"), "the server is polled")
            assert requests.get(f"http://{address}/", timeout=30).ok
            write_config(tmp_path, server_yaml(simulator, "other"))
            assert requests.post(f"http://{address}/-/reload", timeout=30).ok
            wait_until(lambda: up("other"), "the other server is polled")
            process.send_signal(stop)
            assert process.wait(60) == 0
        assert simulator.requests["POST", "logout"] == 2

    lines = log.read_text(encoding="utf-8").splitlines()
    assert "msg=stopped" in lines[-1]
    assert [line for line in lines if "level=ERROR" in line or "level=WARN" in line] == []
