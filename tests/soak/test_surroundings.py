"""Short soak runs in surroundings that must not show in the metrics: logs, web clients, configured ids and one-shot polls."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

import pytest
from soak.harness import Harness, soaked

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.abusive_clients import FLOODS, abusive_clients
from support.expected_metrics import expected_samples, session_samples
from support.exporter_harness import server_yaml, write_config
from support.exporter_stepped import MovableClock, Samples, Scrape, stepped_exporter
from support.processes import EXPORTER, clean_environment, run_exporter
from support.standard_error import WITHOUT_STDERR, full_pipe, no_stderr, unread_pipe
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

SEED = 1
POLLS = 60
POLLS_PER_KIND = 10
IDS = "sessions: {{ids: [{ids}], discover: false}}"


def check_recovered(harness: Harness) -> None:
    harness.recover()
    assert harness.shown() == pytest.approx(harness.expected(), rel=0, abs=1e-6)
    assert harness.counted() == harness.expected_counts()


@pytest.mark.parametrize("stderr", [full_pipe, unread_pipe, no_stderr])
def test_failing_polls_whose_log_nobody_reads_end_with_correct_metrics(
    tmp_path: Path, stderr: Callable[[], AbstractContextManager[int | None]]
) -> None:
    with soaked(tmp_path, SEED, stderr) as harness:
        for _ in range(POLLS):
            harness.poll()
        check_recovered(harness)


def test_failing_polls_and_scrapes_beside_abusive_clients_show_correct_metrics(
    tmp_path: Path,
) -> None:
    with soaked(tmp_path, SEED, timeout="5s") as harness:
        for kind in (*FLOODS, "silent", "half-sent", "malformed"):
            harness.is_abused = True
            with abusive_clients(kind, harness.address):
                for _ in range(POLLS_PER_KIND):
                    harness.poll()
            harness.is_abused = False
            check_recovered(harness)
        assert harness.unexpected_log_lines() == []


# Configured ids alone


@pytest.fixture
def world() -> World:
    """A world of sessions in four organizations that change only on request."""
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    for number in range(40):
        world.add_session(
            organization=f"{number % 4}.example",
            type=("Vex", "Veod", "Vesp", "Vet")[number % 3],
            state="Stopped" if number % 2 else "Working",
            result=("Success", "Failed")[number % 5 == 0],
        )
    return world


def gauges(scrape: Scrape) -> Samples:
    """Return the gauges of sessions and organizations."""
    return {
        (name, labels): value
        for (name, labels), value in session_samples(scrape, "hq").items()
        if name != "vb365_restore_session_found"
    }


def test_configured_ids_alone_show_their_organizations_from_the_first_poll_on(
    tmp_path: Path, world: World
) -> None:
    random = Random(SEED)  # noqa: S311 - reproducible
    ids = [session.id for session in world.sessions()]
    followed, others = ids[:20], ids[20:]
    with Simulator(world) as simulator:
        servers = server_yaml(simulator, extra=IDS.format(ids=", ".join(followed)))
        once = run_exporter(f"--config.file={write_config(tmp_path, servers)}", "--once")
        assert gauges(Scrape(once.stdout)) == expected_samples(world, "hq", others)
        with stepped_exporter(servers, MovableClock()) as exporter:
            running = [one.id for one in world.sessions() if not one.stopped]
            random.shuffle(running)
            for session_id in running:
                scrape = exporter.step(60)
                assert scrape.value("vb365_up", "hq") == 1
                assert gauges(scrape) == expected_samples(world, "hq", others)
                world.finish(session_id, random.choice(("Success", "Warning")))


# One-shot polls without a log


@pytest.fixture
def simulator(world: World) -> Iterator[Simulator]:
    with Simulator(world) as simulator:
        yield simulator


def poll_once(config: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [*EXPORTER, f"--config.file={config}", "--once", f"--output.file={output}"]
    return subprocess.Popen([*WITHOUT_STDERR, *command], env=clean_environment())


@pytest.mark.parametrize("fault", [None, "forbidden", "status_503", "truncated_json", "silence"])
def test_a_one_shot_poll_without_a_log_writes_what_it_shows_or_keeps_the_old_file(
    tmp_path: Path, simulator: Simulator, fault: str | None
) -> None:
    output = tmp_path / "vb365.prom"
    config = write_config(tmp_path, server_yaml(simulator, extra="timeout: 1s"))
    if fault is not None:
        simulator.faults.set(fault, route="list")

    with poll_once(config, output) as process:
        status = process.wait(60)

    written = Scrape(output.read_text())
    assert (status, written.value("vb365_up", "hq")) == ((0, 1) if fault is None else (1, 0))
    if fault is None:
        assert gauges(written) == expected_samples(simulator.world, "hq")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_one_shot_poll_that_is_interrupted_without_a_log_keeps_the_old_file(
    tmp_path: Path, simulator: Simulator, stop: signal.Signals
) -> None:
    output = tmp_path / "vb365.prom"
    output.write_text("old\n")
    config = write_config(tmp_path, server_yaml(simulator, extra="timeout: 1m"))
    simulator.faults.set("silence")

    with poll_once(config, output) as process:
        wait_until(lambda: simulator.faults.hits["silence"] > 0, "a request")
        process.send_signal(stop)
        assert process.wait(10) != 0

    assert output.read_text() == "old\n"
    assert [file.name for file in tmp_path.glob("*.prom*")] == [output.name]
