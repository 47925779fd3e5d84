"""`--audit.log-file` as a user runs it."""

from __future__ import annotations

import resource
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.audit_files import events_of, lines_of
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, clean_environment, free_port, run_exporter
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

STARTED, ENDED = "started", "ended"


@pytest.fixture
def world() -> World:
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def add(world: World) -> str:
    """A session that is opened now, with all that an auditor wants to know."""
    return world.add_session(
        organization="contoso.example",
        type="Vex",
        initiated_by="CONTOSO\\operator",
        client_host="SRV01 (via: 10.0.0.1)",
        reason="ticket 4711",
        items="rr",
    )


def config_of(directory: Path, simulator: Simulator) -> Path:
    servers = server_yaml(simulator, extra="sessions: {extras: [statistics]}")
    return write_config(directory, servers, "poll_interval: 5m")


@contextmanager
def exporter(
    config: Path, target: Path | str, address: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command with an audit log; its standard output goes to `stdout` next to its configuration."""
    command = [
        *(*EXPORTER, f"--config.file={config}", f"--audit.log-file={target}"),
        f"--web.listen-address={address or f'127.0.0.1:{free_port()}'}",
    ]
    with (
        config.with_name("stdout").open("ab") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.DEVNULL, env=clean_environment()
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def events(*files: Path) -> list[tuple[str, str]]:
    """Session and event of each line; none before there is a file, and while its last line is torn."""
    if not all(file.exists() and file.read_bytes().endswith(b"\n") for file in files):
        return []
    return [(session_id, event) for _, session_id, event in events_of(*files)]


def wait_for(file: Path, expected: list[tuple[str, str]]) -> None:
    wait_until(lambda: events(file) == expected, f"{expected} in the audit log", 60)


def test_a_session_is_logged_at_its_start_and_its_end_with_the_restored_items(
    tmp_path: Path, world: World
) -> None:
    audit = tmp_path / "audit.log"
    with Simulator(world) as simulator, exporter(config_of(tmp_path, simulator), audit):
        wait_until(lambda: simulator.requests["GET", "change_feed"] > 1, "the feed is followed", 60)
        session_id = add(world)
        wait_for(audit, [(session_id, STARTED)])
        world.change_session(session_id, items="rrwffs")
        world.finish(session_id, "Warning")
        wait_for(audit, [(session_id, STARTED), (session_id, ENDED)])

    ended: dict[str, Any] = lines_of(audit)[1]
    assert ended["statistics"] == {"restored": 3, "failed": 2, "skipped": 1}
    assert tuple(ended[field] for field in ("result", "initiatedBy", "clientHost", "reason")) == (
        "Warning",
        "CONTOSO\\operator",
        "SRV01 (via: 10.0.0.1)",
        "ticket 4711",
    )
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600


def test_standard_output_gets_the_same_lines_and_nothing_else(tmp_path: Path, world: World) -> None:
    session_id = add(world)
    output = tmp_path / "stdout"
    with Simulator(world) as simulator, exporter(config_of(tmp_path, simulator), "-"):
        wait_for(output, [(session_id, STARTED)])
        world.finish(session_id)
        wait_for(output, [(session_id, STARTED), (session_id, ENDED)])


def test_another_single_poll_writes_only_what_has_happened_since(
    tmp_path: Path, world: World
) -> None:
    audit = tmp_path / "audit.log"
    stays = add(world)
    with Simulator(world) as simulator:
        config = config_of(tmp_path, simulator)
        flags = (f"--config.file={config}", f"--audit.log-file={audit}", "--log.level=warn")
        command = (*flags, "--once")
        assert (run_exporter(*command).returncode, run_exporter(*command).stderr) == (0, "")
        assert events(audit) == [(stays, STARTED)]

        world.finish(stays)
        assert run_exporter(*command).returncode == 0
        assert run_exporter(*command).returncode == 0

    assert events(audit) == [(stays, STARTED), (stays, ENDED)]


def test_events_written_before_the_exporter_was_killed_are_not_repeated(
    tmp_path: Path, world: World
) -> None:
    audit = tmp_path / "audit.log"
    ends, stays = add(world), add(world)
    both = {(ends, STARTED), (stays, STARTED)}
    with Simulator(world) as simulator:
        config = config_of(tmp_path, simulator)
        with exporter(config, audit) as process:
            wait_until(lambda: set(events(audit)) == both, "both have started", 60)
            process.kill()
            process.wait(60)
        world.finish(ends)
        with audit.open("ab") as file:  # as if it had been killed while it wrote
            file.write(b'{"time":"2026-11-24T03:01:52.118Z","event":"en')
        with exporter(config, audit) as process:
            wait_until(lambda: (ends, ENDED) in events(audit), "one has ended", 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0

    assert len(events(audit)) == 3
    assert set(events(audit)) == both | {(ends, ENDED)}


def test_a_full_file_does_not_affect_polls_and_gets_the_missing_events_later(
    tmp_path: Path, world: World
) -> None:
    audit = tmp_path / "audit.log"
    address = f"127.0.0.1:{free_port()}"
    first = add(world)

    def metrics() -> str:
        return requests.get(f"http://{address}/metrics", timeout=30).text

    def failures() -> float:
        name = "vb365_exporter_audit_write_failures_total "
        (line,) = (line for line in metrics().splitlines() if line.startswith(name))
        return float(line.removeprefix(name))

    with (
        Simulator(world) as simulator,
        exporter(config_of(tmp_path, simulator), audit, address) as process,
    ):
        wait_for(audit, [(first, STARTED)])
        wait_until(lambda: simulator.requests["GET", "change_feed"] > 1, "the feed is followed", 60)
        # Full for this process alone: in the middle of the next line.
        full = (audit.stat().st_size + 100, resource.RLIM_INFINITY)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, full)
        world.finish(first, "Failed")
        wait_until(lambda: failures() > 0, "a write has failed", 60)
        second = add(world)
        shown = f'session_id="{second}"'
        wait_until(lambda: shown in metrics(), "another session is shown", 60)

        assert 'vb365_up{server="hq"} 1.0' in metrics()
        assert requests.get(f"http://{address}/-/healthy", timeout=30).ok
        assert process.poll() is None
        room = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, room)
        wait_until(lambda: len(events(audit)) == 3, "what was missed is written", 60)

    assert events(audit) == [(first, STARTED), (first, ENDED), (second, STARTED)]
