"""The bash completion knows every flag and the words that a flag accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from exporter.flags import FLAGS, PROGRAM
from support.processes import debian_program
from support.shell_completion import script

LIBRARY = Path("/usr/share/bash-completion/bash_completion")
COMPLETE = f"""
source {LIBRARY}
source completion.bash
COMP_LINE=$1; shift
COMP_POINT=${{#COMP_LINE}} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() {{ :; }}    # works only while a person completes
_vb365_restore_exporter
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completions(directory: Path, *words: str) -> list[str]:
    """Return what bash offers after these words of a line, separated as bash does: = is a word."""
    if not LIBRARY.exists():
        debian_program("bash_completion", "bash-completion")
    (directory / "completion.bash").write_text(script())
    line = " ".join([PROGRAM, *words]).replace(" = ", "=").replace(" =", "=")
    completed = subprocess.run(
        [debian_program("bash", "bash"), "-c", COMPLETE, "bash", line, PROGRAM, *words],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stderr == ""
    return completed.stdout.split()


def test_every_flag_is_offered_with_the_equals_sign_of_those_that_need_a_value(
    tmp_path: Path,
) -> None:
    wanted = {f"{flag.name}{'=' if flag.const is None else ''}" for flag in FLAGS}

    assert set(completions(tmp_path, "--")) == wanted | {"--help", "--version"}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--conf"], ["--config.file=", "--config.check"]),
        (["--log.level", "=", ""], ["debug", "info", "warn", "error"]),
        (["--log.level", "=", "w"], ["warn"]),
        (["--log.format", "j"], ["json"]),
        (["--list-sessions", "=", "j"], ["json"]),
        (["--list-sessions", "--web.sy"], ["--web.systemd-socket"]),
        (["--config.file", "=", "comp"], ["completion.bash"]),
        (["--shard", "=", ""], []),
    ],
    ids=lambda case: " ".join(case) or "nothing",
)
def test_a_flag_is_completed_and_so_is_the_value_that_it_accepts(
    words: list[str], offered: list[str], tmp_path: Path
) -> None:
    assert completions(tmp_path, *words) == offered
