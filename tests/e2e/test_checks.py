"""`--check-connection` and `--check-idle` as a person, a script and Nagios run them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.documentation import DOCS
from support.exporter_harness import server_yaml, write_config
from support.processes import (
    EXPORTER,
    clean_environment,
    debian_program,
    run_exporter,
    running_process,
)
from support.secret_leaks import leaks
from support.waiting import wait_until

pytestmark = pytest.mark.e2e


def empty_world() -> World:
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def test_idle_servers_exit_with_0_and_a_session_with_1(tmp_path: Path) -> None:
    with Simulator(empty_world()) as hq, Simulator(empty_world()) as branch:
        opened = branch.world.add_session(organization="contoso.onmicrosoft.com", type="Vex")
        config = write_config(tmp_path, server_yaml(hq) + server_yaml(branch, "branch"))
        idle = run_exporter(f"--config.file={config}", "--check-idle=hq", "--log.level=error")
        busy = run_exporter(f"--config.file={config}", "--check-idle", "--log.level=error")
        unknown = run_exporter(f"--config.file={config}", "--check-idle=nowhere")
        logouts = branch.requests["POST", "logout"]

    assert (idle.returncode, idle.stderr) == (0, "")
    hint = "hq lists no sessions at all: check whether the account can see them"
    assert idle.stdout == f"OK - no restore session is open on hq | open_sessions=0\n{hint}\n"
    assert (busy.returncode, busy.stderr, logouts) == (1, "", 1)
    first, row, last = busy.stdout.splitlines()
    assert re.fullmatch(
        r"WARNING - 1 restore session has been open for \d+ s \| open_sessions=1", first
    )
    assert row.split()[:3] == ["branch", "contoso.onmicrosoft.com", "Vex"]
    assert row.endswith(opened)
    assert last == hint
    assert (unknown.returncode, unknown.stdout) == (2, "")


@pytest.mark.parametrize(
    ("servers", "first"),
    [
        ("no list", "UNKNOWN - nothing was checked, the reason is on standard error"),
        (
            "\n  - {name: hq, url: 'https://127.0.0.1:9', auth: {token: secret}}",
            "UNKNOWN - hq could not be checked: the connection to 127.0.0.1:9 failed",
        ),
    ],
    ids=["unusable-configuration", "server-down"],
)
def test_what_cannot_be_checked_exits_with_3_and_a_line_for_nagios(
    tmp_path: Path, servers: str, first: str
) -> None:
    config = write_config(tmp_path, servers)

    checked = run_exporter(f"--config.file={config}", "--check-idle")

    assert checked.returncode == 3
    assert checked.stdout.startswith(first)


@pytest.mark.parametrize(
    ("flag", "status", "text"),
    [
        ("--check-idle", 3, "the check was stopped"),
        ("--check-connection", 1, "stopped before every server was checked"),
    ],
    ids=["idle", "connection"],
)
def test_a_signal_ends_a_check_and_logs_out(
    tmp_path: Path, flag: str, status: int, text: str
) -> None:
    log = tmp_path / "log"
    with Simulator(empty_world()) as silent:
        silent.faults.set("silence", route="list")
        config = write_config(tmp_path, server_yaml(silent, extra="timeout: 5m"))
        with running_process([*EXPORTER, f"--config.file={config}", flag], log) as checking:
            wait_until(lambda: silent.requests["GET", "list"] > 0, "the list is requested")
            checking.send_signal(signal.SIGTERM)
            assert checking.wait(60) == status
        assert silent.requests["POST", "logout"] == 1

    assert text in log.read_text()


def test_a_connection_is_checked_to_its_end_without_a_line_in_the_log(tmp_path: Path) -> None:
    with Simulator(World(sessions=3, activity=False)) as simulator:
        config = write_config(tmp_path, server_yaml(simulator, "büro"))
        healthy = run_exporter(f"--config.file={config}", "--check-connection")
        url = simulator.url

    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert healthy.stdout.startswith(f"büro: {url}\n  ok    name ")
    assert healthy.stdout.endswith("\n\n1 server checked, no step failed\n")


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_check_prints_a_secret(tmp_path: Path, level: str) -> None:
    with Simulator(empty_world(), password="correcthorse") as simulator:
        wrong = server_yaml(simulator, extra="proxy_from_environment: true").replace(
            "correcthorse", "batterystaple"
        )
        proxied = server_yaml(
            simulator, "proxied", extra="proxy_url: 'http://operator:tr0ubador@127.0.0.1:9'"
        )
        config = write_config(tmp_path, server_yaml(simulator, "good") + wrong + proxied)
        checked = run_exporter(
            f"--config.file={config}", "--check-connection", f"--log.level={level}"
        )
        idle = run_exporter(f"--config.file={config}", "--check-idle", f"--log.level={level}")

    assert (checked.returncode, idle.returncode) == (1, 3)
    assert "2 of 3 servers failed: hq (login), proxied (tcp)" in checked.stdout
    printed = checked.stdout + checked.stderr + idle.stdout + idle.stderr
    assert leaks(printed, "correcthorse", "batterystaple", "tr0ubador") == []


# What the documentation shows


def documented(text: str) -> str:
    """Return the block of the page on the command line that has this text."""
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    (found,) = [
        block for block in re.findall(r"```\w+\n(.+?)```", page, re.DOTALL) if text in block
    ]
    return str(found)


def run_update_script(directory: Path, script: str) -> subprocess.Popen[str]:
    """Start the documented script in a directory with a config.yaml."""
    commands = Path(sys.executable).parent
    return subprocess.Popen(
        [debian_program("bash", "bash"), "-c", script.replace("sleep 60", "sleep 0.1")],
        cwd=directory,
        env=clean_environment(PATH=f"{commands}{os.pathsep}{os.environ['PATH']}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_documented_script_updates_when_the_last_session_has_ended(tmp_path: Path) -> None:
    with Simulator(empty_world()) as simulator:
        opened = simulator.world.add_session()
        write_config(tmp_path, server_yaml(simulator))
        with run_update_script(tmp_path, documented("until vb365-")) as script:
            wait_until(lambda: simulator.requests["POST", "logout"] > 0, "the first check", 30)
            simulator.world.finish(opened)
            output, _ = script.communicate(timeout=60)

    assert script.returncode == 0
    assert output.splitlines()[-2:] == [
        "OK - no restore session is open on hq | open_sessions=0",
        "no restore session is open: updating",
    ]


@pytest.mark.parametrize(
    ("fault", "tries", "status"),
    [(None, "tries=2", 1), ("forbidden", "tries=60", 3)],
    ids=["still-open", "not-certain"],
)
def test_the_documented_script_does_not_update_otherwise(
    tmp_path: Path, fault: str | None, tries: str, status: int
) -> None:
    with Simulator(empty_world()) as simulator:
        simulator.world.add_session()
        if fault is not None:
            simulator.faults.set(fault)
        write_config(tmp_path, server_yaml(simulator))
        text = documented("until vb365-").replace("tries=60", tries)
        with run_update_script(tmp_path, text) as script:
            output, errors = script.communicate(timeout=60)

    assert script.returncode == status
    assert "updating" not in output
    assert errors.splitlines()[-1] == "not updating"


@pytest.mark.parametrize(
    ("block", "pattern", "macro"),
    [
        ("object CheckCommand", r'"(.+?)"[, ]', "$backup_server$"),
        ("define command", r"(?:(?<=command_line  )|(?<= ))(/\S+|--\S+)", "$ARG1$"),
    ],
    ids=["icinga", "nagios"],
)
def test_the_documented_check_commands_run(
    tmp_path: Path, block: str, pattern: str, macro: str
) -> None:
    with Simulator(empty_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        text = documented(block).replace("/etc/vb365-restore-exporter/config.yaml", str(config))
        words = re.findall(pattern, text.replace(macro, "hq"))
        _program, *arguments = words[words.index("/usr/bin/vb365-restore-exporter") :]
        checked = run_exporter(*arguments)

    assert len(arguments) == 3
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("OK - ")
