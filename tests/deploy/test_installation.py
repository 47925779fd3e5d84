"""Every installation that the documentation shows is by the locked dependencies with their hashes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from support.alert_rules import DEPLOY
from support.processes import debian_program

ROOT = DEPLOY.parent


def install_commands() -> Iterator[str]:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *DEPLOY.rglob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            if "pip install " in line:
                yield line


def test_libraries_are_installed_with_hashes_and_the_wheel_without_dependencies() -> None:
    commands = list(install_commands())

    assert len(commands) >= 6
    for command in commands:
        assert "--require-hashes -r requirements.lock" in command or (
            "--no-deps" in command and command.rstrip().endswith((".whl", " ."))
        ), command


def test_make_demo_installs_only_what_the_exporter_needs_to_run() -> None:
    shown = subprocess.run(
        [debian_program("make", "make"), "--dry-run", "--always-make", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert re.findall(r"pip install .*", shown) == [
        "pip install --disable-pip-version-check --no-compile --require-hashes -r requirements.lock"
    ]
