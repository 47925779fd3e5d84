"""`--once` and `--output.file` as a cron job runs them."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import (
    EXPORTER,
    clean_environment,
    debian_program,
    run_exporter,
    running_process,
)
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def quiet_world() -> World:
    return World(activity=False, sessions=20)


def series(text: str) -> Series:
    """Every sample by name and labels, of which there is one each."""
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    assert all(sample.timestamp is None for sample in samples)
    found = {(one.name, frozenset(one.labels.items())): one.value for one in samples}
    assert len(samples) == len(found)
    return found


def value(text: str, name: str, **labels: str) -> float | None:
    """The value of this sample, None if it is not there."""
    return series(text).get((name, frozenset(labels.items())))


def test_the_metrics_of_a_poll_are_written_to_standard_output_and_promtool_accepts_them(
    tmp_path: Path,
) -> None:
    with Simulator(quiet_world()) as hq, Simulator(quiet_world()) as branch:
        servers = server_yaml(hq) + server_yaml(branch, "branch")
        config = write_config(tmp_path, servers, "info_labels: [name]")
        once = run_exporter(f"--config.file={config}", "--once", "--log.level=warn")
        truth = hq.world.sessions()
        sent = hq.requests

    assert (once.returncode, once.stderr) == (0, "")
    for server in ("hq", "branch"):
        assert value(once.stdout, "vb365_up", server=server) == 1
        assert value(once.stdout, "vb365_polls_total", server=server) == 1
    shown = {
        (dict(labels)["session_id"], dict(labels)["state"])
        for (name, labels), number in series(once.stdout).items()
        if name == "vb365_restore_session_state" and number and ("server", "hq") in labels
    }
    running = {(session.id, "Working") for session in truth if session.state == "Working"}
    assert running
    assert running <= shown <= {(session.id, session.state) for session in truth}
    assert (sent["POST", "token"], sent["GET", "list"], sent["POST", "logout"]) == (1, 1, 1)

    promtool = debian_program("promtool", "prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=once.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_metrics_that_node_exporter_has_itself_are_not_written(tmp_path: Path) -> None:
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        once = run_exporter(f"--config.file={config}", "--once")

    names = {name for name, _ in series(once.stdout)}
    assert names
    assert [name for name in names if not name.startswith("vb365_")] == []


def test_a_failing_server_is_written_with_up_0_and_status_1(tmp_path: Path) -> None:
    with Simulator(quiet_world()) as hq, Simulator(quiet_world()) as branch:
        branch.faults.set("forbidden")
        config = write_config(tmp_path, server_yaml(hq) + server_yaml(branch, "branch"))
        once = run_exporter(f"--config.file={config}", "--once")

    assert once.returncode == 1
    assert value(once.stdout, "vb365_up", server="hq") == 1
    assert value(once.stdout, "vb365_up", server="branch") == 0
    assert value(once.stdout, "vb365_poll_failures_total", server="branch", reason="forbidden") == 1
    assert "server=branch reason=forbidden" in once.stderr


def test_a_failed_poll_replaces_the_output_file_too(tmp_path: Path) -> None:
    folder = tmp_path / "textfile"
    folder.mkdir()
    file = folder / "vb365.prom"
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        command = (f"--config.file={config}", "--once", f"--output.file={file}")
        good = run_exporter(*command)
        first = file.read_text()
        simulator.faults.set("forbidden")
        bad = run_exporter(*command)

    assert (good.returncode, good.stdout) == (0, "")
    assert value(first, "vb365_up", server="hq") == 1
    assert (bad.returncode, bad.stdout) == (1, "")
    assert value(file.read_text(), "vb365_up", server="hq") == 0
    assert list(folder.iterdir()) == [file]


def test_an_unwritable_file_is_reported_before_any_request(tmp_path: Path) -> None:
    file = tmp_path / "absent" / "vb365.prom"
    with Simulator(quiet_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        once = run_exporter(f"--config.file={config}", "--once", f"--output.file={file}")
        sent = simulator.requests

    assert once.returncode == 1
    assert f'msg="cannot write" error="{file}: No such file or directory"' in once.stderr
    assert not sent


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_abandons_the_poll_logs_out_and_leaves_the_old_file(
    tmp_path: Path, stop: signal.Signals
) -> None:
    folder = tmp_path / "textfile"
    folder.mkdir()
    file = folder / "vb365.prom"
    file.write_text("old\n")
    log = tmp_path / "log"
    with Simulator(quiet_world()) as silent, Simulator(quiet_world()) as branch:
        silent.faults.set("silence", route="list")
        servers = server_yaml(silent, extra="timeout: 5m") + server_yaml(branch, "branch")
        config = write_config(tmp_path, servers)
        command = [*EXPORTER, f"--config.file={config}", "--once", f"--output.file={file}"]
        with running_process(command, log) as process:
            wait_until(lambda: silent.requests["GET", "list"] > 0, "the list is requested")
            # The other server does not wait for the one that is silent.
            wait_until(lambda: branch.requests["GET", "list"] > 0, "branch is polled, too")
            process.send_signal(stop)
            assert process.wait(60) == 1
        assert silent.requests["POST", "logout"] == 1

    assert "nothing written" in log.read_text()
    assert file.read_text() == "old\n"
    assert list(folder.iterdir()) == [file]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_unwritable_standard_output_is_a_failure_in_one_line(unbuffered: str) -> None:
    for target, reason in (("/dev/full", "No space left on device"), ("&-", "is closed")):
        shell = f'"$0" -m exporter --demo --once --log.level=warn >{target}'
        full = subprocess.run(
            ["/bin/sh", "-c", shell, EXPORTER[0]],
            env=clean_environment(PYTHONUNBUFFERED=unbuffered),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        (line,) = full.stderr.splitlines()
        assert full.returncode == 1
        assert reason in line


@pytest.mark.parametrize("command", ["--once", "--list-sessions"])
def test_a_certificate_that_is_not_verified_is_logged_once(tmp_path: Path, command: str) -> None:
    with Simulator(quiet_world()) as simulator:
        servers = server_yaml(simulator).replace("ca_file:", "insecure_skip_verify: true, ca_file:")
        config = write_config(tmp_path, servers)
        done = run_exporter(f"--config.file={config}", command)

    assert done.returncode == 0
    assert done.stderr.count('msg="certificate verification is disabled') == 1


def test_one_poll_of_configured_ids_alone_has_the_gauges_of_organizations(tmp_path: Path) -> None:
    with Simulator(quiet_world()) as hq:
        session = next(one for one in hq.world.sessions() if one.stopped)
        config = write_config(tmp_path, server_yaml(hq, extra=f"sessions: {{ids: [{session.id}]}}"))
        once = run_exporter(f"--config.file={config}", "--once")

    labels = {"server": "hq", "organization": session.organization or "", "type": session.type}
    results = ("Success", "Warning", "Failed")
    assert [
        value(once.stdout, "vb365_restore_sessions_stopped", **labels, result=result)
        for result in results
    ] == [float(result == session.result) for result in results]
    assert value(once.stdout, "vb365_restore_sessions_working", **labels) == 0


def test_the_demo_can_be_polled_once() -> None:
    demo = run_exporter("--demo", "--once")

    assert demo.returncode == 0
    assert value(demo.stdout, "vb365_up", server="demo") == 1
