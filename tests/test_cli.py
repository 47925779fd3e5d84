from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli import main
from support.config_texts import MINIMAL


def check(text: str, directory: Path, *flags: str) -> int:
    file = directory / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return main(["--config.check", f"--config.file={file}", *flags])


def test_checking_a_valid_configuration_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = check(MINIMAL, tmp_path)

    assert (status, capsys.readouterr().err) == (0, "")


def test_checking_a_configuration_names_all_its_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = check("poll_interval: 1\nservers: []\n", tmp_path)

    assert (status, capsys.readouterr().err.splitlines()) == (
        1,
        [
            "poll_interval: must be a duration such as 30s, 5m, 1h30m or 7d",
            "servers: at least one server is required",
        ],
    )


def test_checking_covers_the_web_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {alice: secret}\n", encoding="utf-8")

    status = check(MINIMAL, tmp_path, f"--web.config.file={web}")

    (problem,) = capsys.readouterr().err.splitlines()
    assert (status, problem.partition(":")[0]) == (1, "basic_auth_users.alice")


def test_a_setting_without_effect_is_a_warning_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
    text = f"{MINIMAL.rstrip()}\n    sessions: {{ids: [{ids}, {ids}]}}\n"

    status = check(text, tmp_path)

    (warning,) = capsys.readouterr().err.splitlines()
    assert (status, warning) == (
        0,
        "warning: servers[0].sessions.ids[1]: unused: the same as ids[0]",
    )
