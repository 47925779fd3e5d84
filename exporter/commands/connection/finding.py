"""What a step of a connection found, and how it is printed."""

from __future__ import annotations

import textwrap
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum

from exporter.vb365.errors import Vb365Error

_WIDTH = 80
_STEP_WIDTH = 13
_INDENT = " " * (2 + 4 + 2 + _STEP_WIDTH + 2)
_LABEL_WIDTH = 8


class Verdict(StrEnum):
    """How a step ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    NONE = "-"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found; texts are printable lines without secrets."""

    step: str
    verdict: Verdict
    text: str
    _: KW_ONLY
    details: tuple[tuple[str, str], ...] = ()
    advice: str = ""
    pem: str = ""
    """A certificate that is not trusted, in PEM."""


def failure(
    step: str,
    error: Vb365Error | None,
    what_to_do: str = "",
    details: tuple[tuple[str, str], ...] = (),
    pem: str = "",
) -> Finding:
    """Return the finding of a step that failed with this error."""
    text = error.message if error is not None else ""
    return Finding(step, Verdict.FAIL, text, details=details, advice=what_to_do, pem=pem)


def finding_text(finding: Finding) -> str:
    """Format a finding for 80 columns: step, verdict and text, then details, advice and certificate."""
    head = f"  {finding.verdict:<4}  {finding.step:<{_STEP_WIDTH}}  "
    lines = _wrap(finding.text, head)
    for label, text in finding.details:
        lines += _wrap(text, f"{_INDENT}{label:<{_LABEL_WIDTH}} ")
    if finding.advice:
        lines += _wrap(finding.advice, f"{_INDENT}-> ")
    return "\n".join(lines) + "\n" + finding.pem


def _wrap(text: str, head: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
