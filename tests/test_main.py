"""The status of the program when something unexpected ends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.config_texts import MINIMAL
from support.processes import clean_environment

NO_THREADS = "threading.stack_size(1 << 46)"
"""No machine has the memory for a thread with a stack of this size."""
NO_THREAD_BUT_THAT_OF_THE_LOG = """
from exporter import logs
configure = logs.configure
def configure_and_refuse(**options):
    configure(**options)
    threading.stack_size(1 << 46)
logs.configure = configure_and_refuse
"""
NO_LIBRARY = "sys.modules['structlog'] = None"
NO_MEMORY = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1, 1))"
NOTHING_CHECKED = "UNKNOWN - nothing was checked, the reason is on standard error\n"


def run_after(
    preparation: str, *arguments: str, directory: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a process that has run these statements."""
    config = directory / "config.yaml"
    config.write_text(MINIMAL, encoding="utf-8")
    script = f"import sys, threading\nfrom exporter.__main__ import main\n{preparation}\nmain()"
    return subprocess.run(
        [sys.executable, "-c", script, f"--config.file={config}", *arguments],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("preparation", "reason"),
    [
        (NO_THREADS, "ThreadLimitError: cannot start thread log"),
        (NO_THREAD_BUT_THAT_OF_THE_LOG, 'msg="cannot poll" error="cannot start thread stop'),
        (NO_LIBRARY, "ModuleNotFoundError"),
        (NO_MEMORY, "Error"),
    ],
    ids=["no-threads", "no-thread-but-that-of-the-log", "no-library", "no-memory"],
)
def test_whatever_prevents_a_check_it_does_not_report_an_open_session(
    tmp_path: Path, preparation: str, reason: str
) -> None:
    checked = run_after(preparation, "--check-idle", directory=tmp_path)

    assert (checked.returncode, checked.stdout) == (3, NOTHING_CHECKED)
    assert reason in checked.stderr


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--check-idle=hq",), {}), ((), {"VB365_EXPORTER_CHECK_IDLE": "*"})],
    ids=["named", "in-the-environment"],
)
def test_a_check_is_recognised_before_arguments_are_parsed(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    checked = run_after(NO_LIBRARY, *arguments, directory=tmp_path, **environment)

    assert (checked.returncode, checked.stdout) == (3, NOTHING_CHECKED)


def test_any_other_command_fails_with_1(tmp_path: Path) -> None:
    polled = run_after(NO_THREADS, "--once", directory=tmp_path)

    assert (polled.returncode, polled.stdout) == (1, "")
    assert "ThreadLimitError: cannot start thread log" in polled.stderr
