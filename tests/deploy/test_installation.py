"""Every installation that the documentation shows is by the locked dependencies with their hashes."""

from __future__ import annotations

from collections.abc import Iterator

from support.alert_rules import DEPLOY

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
