from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli import main
from support.config_texts import MINIMAL


def test_the_command_checks_both_configurations_and_reports_on_both_streams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, web = tmp_path / "config.yaml", tmp_path / "web.yml"
    file.touch(mode=0o600)
    file.write_text(MINIMAL, encoding="utf-8")
    web.write_text("", encoding="utf-8")

    status = main(["--config.check", f"--config.file={file}", f"--web.config.file={web}"])

    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert printed.out.startswith(f"{file} is valid: 1 server; {web} is valid; ")
