"""The process suspended and continued: what it served before is not served afterwards as if it were true now."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

# More than a slow machine needs between two polls.
STALE_SECONDS = 6.0
TOP = f"poll_interval: 1s\nstale_after: {STALE_SECONDS:.0f}s"
UP = re.compile(r'^vb365_up\{server="hq"\} (\S+)$', re.MULTILINE)
SESSION = re.compile(r'^vb365_restore_session_state\{.*state="Working".*\} 1\.0$', re.MULTILINE)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(World(activity=False, sessions=20)) as simulator:
        yield simulator


def shown(url: str) -> tuple[str, int]:
    """Return the value of vb365_up, and how many running sessions are shown."""
    text = requests.get(f"{url}/metrics", timeout=60).text
    return "".join(UP.findall(text)), len(SESSION.findall(text))


def serving(url: str) -> bool:
    try:
        return shown(url)[0] == "1.0"
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("polls_hang", [True, False])
def test_no_scrape_after_a_suspension_shows_stale_data_or_up_1_without_data(
    tmp_path: Path, simulator: Simulator, *, polls_hang: bool
) -> None:
    config, port = write_config(tmp_path, server_yaml(simulator), TOP), free_port()
    command = [*EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"
    with (
        running_process(command, tmp_path / "log") as process,
        ThreadPoolExecutor(20) as scrapers,
    ):
        wait_until(lambda: serving(url), "a poll")
        _, running = shown(url)
        assert running > 0
        if polls_hang:
            hanging = simulator.requests["GET", "list"] + 1
            simulator.faults.set("silence", route="list")
            wait_until(lambda: simulator.requests["GET", "list"] >= hanging, "a poll that hangs")
        process.send_signal(signal.SIGSTOP)
        continue_at = time.monotonic() + 1.5 * STALE_SECONDS
        scrapes = [scrapers.submit(shown, url) for _ in range(20)]
        wait_until(lambda: time.monotonic() > continue_at, "the data is stale")
        process.send_signal(signal.SIGCONT)
        during = {scrape.result() for scrape in scrapes}
        after = {shown(url) for _ in range(20)}

        if polls_hang:
            assert during | after == {("0.0", 0)}
            simulator.faults.clear()
        else:
            assert {sessions for up, sessions in during | after if up == "1.0"} <= {running}
        wait_until(lambda: serving(url), "a poll after the suspension")
