"""The shell commands in the documentation, and what runs them.

Above each block of commands stands a comment that is invisible on the rendered page:

    <!-- run: SCENE -->            a test runs the block; `SCENES` lists the scenes
    <!-- run: SCENE, status 1 -->  the same, if the last command exits with that status
    <!-- not run: REASON -->       no test runs it, for this reason

Runbooks are left out: their commands need a VB365 server in the state that the alert describes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.alert_rules import DEPLOY
from support.documentation import ROOT, pages

SCENES: Mapping[str, str] = {
    "configured": "config.yaml points at a simulator",
    "serving": "the same, and the block starts an exporter that the test ends with Ctrl-C",
    "served": "the same, and an exporter is running already",
}

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>(?:not )?run: .+?) -->\n)?"
    r"^```(?P<language>sh|bash|console|powershell|bat)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_RUN = re.compile(r"run: (?P<scene>\w+)(?:, status (?P<status>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellBlock:
    """A block of shell commands on a page of the documentation.

    Args:
        page: the page.
        number: counts the blocks of the page from 1.
        note: the comment above it; empty if there is none.
        language: the language of the block.
        text: its lines.
    """

    page: Path
    number: int
    note: str
    language: str
    text: str

    @property
    def id(self) -> str:
        """A name for the block in the results of tests."""
        return f"{self.page.relative_to(ROOT)}-{self.number}"

    @property
    def scene(self) -> str | None:
        """The scene to run it in; None if it is not run."""
        found = _RUN.fullmatch(self.note)
        return found["scene"] if found else None

    @property
    def status(self) -> int:
        """The expected exit status."""
        found = _RUN.fullmatch(self.note)
        return int(found["status"] or 0) if found else 0

    @property
    def script(self) -> str:
        """The commands without prompts and output."""
        if self.language != "console":
            return self.text
        commands = (line for line in self.text.splitlines() if line.startswith("$ "))
        return "\n".join(command.removeprefix("$ ") for command in commands)

    @property
    def is_explained(self) -> bool:
        """Whether the block is run, or its comment gives the reason why not."""
        return self.scene in SCENES or self.note.startswith("not run: ")


def shell_blocks() -> tuple[ShellBlock, ...]:
    """Return every block of shell commands in README.md, docs/ and the README files of deploy/."""
    return tuple(
        block for page in (*pages(), *sorted(DEPLOY.glob("*/README.md"))) for block in _blocks(page)
    )


def _blocks(page: Path) -> Iterator[ShellBlock]:
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    for number, block in enumerate(found, start=1):
        yield ShellBlock(
            page=page,
            number=number,
            note=block["note"] or "",
            language=block["language"],
            text=block["text"],
        )
