"""The shipped logrotate configuration, executed by logrotate on an audit log that is being written."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from exporter.vb365.records.restore_session import RestoreSession
from support.alert_rules import DEPLOY
from support.audit_files import LONG_SECONDS, audit_log, lines_in, write
from support.processes import debian_program
from support.sample_sessions import finished
from support.waiting import wait_until

CONFIGURATION = DEPLOY / "logrotate" / "vb365-restore-exporter"
INSTALLED_PATH = "/var/log/vb365-restore-exporter/audit.log"


def configure(directory: Path, *, dates: bool) -> Path:
    """Write the shipped configuration for an audit log in this directory, without an account to change to."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert text.count(INSTALLED_PATH) == 1
    text = text.replace(INSTALLED_PATH, str(directory / "audit.log"))
    text, accounts = re.subn(r"^ +su \S+ \S+\n", "", text, flags=re.MULTILINE)
    assert accounts == 1
    if dates:
        text = text.replace("{", "{\n    dateext\n    dateformat -%Y%m%d-%s", 1)
    configuration = directory / "logrotate.conf"
    configuration.write_text(text, encoding="utf-8")
    configuration.chmod(0o600)
    return configuration


def rotating(configuration: Path) -> subprocess.Popen[str]:
    program = debian_program("logrotate", "logrotate")
    state = configuration.with_name("state")
    return subprocess.Popen(
        [program, "--force", "--state", state, configuration],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rotated(directory: Path) -> Iterator[Path]:
    return (file for file in directory.glob("audit.log*") if file.name != "audit.log")


def event_counts(directory: Path) -> Counter[tuple[str, str]]:
    """Count the lines of each event in the audit log and all its predecessors."""
    files = [*rotated(directory), directory / "audit.log"]
    contents = (
        gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for file in files
        if file.exists()
    )
    return Counter(
        (line["id"], line["event"]) for content in contents for line in lines_in(content)
    )


@pytest.mark.parametrize(("dates", "rotations"), [(False, 4), (True, 1)], ids=["numbers", "dates"])
def test_each_event_is_written_once_while_logrotate_rotates_and_after_a_restart(
    tmp_path: Path, *, dates: bool, rotations: int
) -> None:
    configuration = configure(tmp_path, dates=dates)
    numbers = count(1)
    sessions: list[RestoreSession] = []
    file = tmp_path / "audit.log"
    audit = audit_log(file)
    for _ in range(rotations):
        latest = [finished(next(numbers))]
        audit.record("hq", latest)
        wait_until(
            lambda: file.exists() and file.stat().st_size > 0,
            "the audit log has a line to be rotated",
        )
        with rotating(configuration) as process:
            while process.poll() is None:
                latest.append(finished(next(numbers)))
                audit.record("hq", latest[-1:])
            assert process.stdout is not None
            assert (process.stdout.read(), process.returncode) == ("", 0)
        sessions += latest
        audit.record("hq", sessions)
    audit.close(LONG_SECONDS)

    write(file, *latest)

    assert event_counts(tmp_path) == Counter(
        (session.id, event) for session in sessions for event in ("started", "ended")
    )
    assert len([*rotated(tmp_path)]) == rotations
