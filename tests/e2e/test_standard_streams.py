"""The command whose log nobody reads, or that has none: it polls, serves and stops as ever."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, clean_environment, free_port
from support.standard_error import WITHOUT_STDERR, full_pipe, no_stderr, unread_pipe
from support.waiting import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(World(activity=False, sessions=20)) as simulator:
        yield simulator


@pytest.mark.parametrize("stderr", [full_pipe, unread_pipe, no_stderr])
def test_polls_scrapes_and_sigterm_do_not_wait_for_a_reader_of_the_log(
    tmp_path: Path, simulator: Simulator, stderr: Callable[[], AbstractContextManager[int | None]]
) -> None:
    config, port = write_config(tmp_path, server_yaml(simulator)), free_port()
    command = [*EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"

    def scraped(line: str) -> bool:
        try:
            return line in requests.get(f"{url}/metrics", timeout=30).text
        except requests.ConnectionError:
            return False

    with stderr() as descriptor:
        command = list(command if descriptor is not None else (*WITHOUT_STDERR, *command))
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=descriptor, env=clean_environment()
        ) as process:
            try:
                wait_until(lambda: scraped('vb365_up{server="hq"} 1.0'), "a poll")
                simulator.faults.set("forbidden")
                wait_until(lambda: scraped('vb365_up{server="hq"} 0.0'), "a failed poll")
                simulator.faults.clear()
                wait_until(lambda: scraped('vb365_up{server="hq"} 1.0'), "another poll")
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()


def test_a_poll_without_a_log_writes_the_output_file(tmp_path: Path, simulator: Simulator) -> None:
    config, file = write_config(tmp_path, server_yaml(simulator)), tmp_path / "vb365.prom"
    command = [f"--config.file={config}", "--once", f"--output.file={file}"]

    done = subprocess.run(
        [*WITHOUT_STDERR, *EXPORTER, *command], env=clean_environment(), timeout=60, check=False
    )

    assert done.returncode == 0
    assert 'vb365_up{server="hq"} 1.0' in file.read_text()


@pytest.mark.parametrize("flags", [("--config.check",), ("--web.max-requests=x",)])
def test_problems_without_standard_error_are_exit_statuses(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("servers: []\n")

    done = subprocess.run(
        [*WITHOUT_STDERR, *EXPORTER, f"--config.file={config}", *flags],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2 if "x" in flags[0] else 1, b"")


def test_the_demo_starts_without_standard_output() -> None:
    port = free_port()
    shell = ("/bin/sh", "-c", 'exec "$0" "$@" >&-')
    command = [*shell, *EXPORTER, "--demo", f"--web.listen-address=127.0.0.1:{port}"]

    def ready() -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=30).ok
        except requests.ConnectionError:
            return False

    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=clean_environment()) as process:
        try:
            wait_until(ready, "a poll")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
