"""Arguments and environment to `Options`, and the help."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

from exporter import __version__
from exporter.flags.rows import ENVIRONMENT_PREFIX, FLAGS, Flag, Options
from exporter.flags.rules import conflict

__all__ = ["PROGRAM", "parse", "version_line"]

PROGRAM = "vb365-restore-exporter"
_HELP_WIDTH = 80
_HELP_INDENT = 24

_ABOUT = "Prometheus exporter for the restore sessions of Veeam Backup for Microsoft 365."
_HELP_END = f"""\
Each flag can be given as an environment variable: in upper case, with _ for .
and -, such as {ENVIRONMENT_PREFIX}LOG_LEVEL=debug. Repeatable flags are
comma-separated there, and an empty variable counts as absent. The flag wins.

Exit status:
  0  ok
  1  failure: a configuration that cannot be used, an address or a file that
     cannot be had; with --once and --list-sessions also a server that did not
     answer fully, or a signal that came before the end
  2  wrong usage
"""


def version_line() -> str:
    """What `--version` prints."""
    return f"{PROGRAM}, version {__version__} (python {platform.python_version()})"


def parse(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Options of these arguments (without the program's name) and environment variables.

    Variables with the prefix that are no flag's are ignored: Kubernetes makes such names.

    Raises:
        SystemExit: status 2 for wrong usage, told on standard error; 0 after `--help`, `--version`.
    """
    parser = _Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="help")
    parser.add_argument("--version", action="version", version=version_line())
    for flag in FLAGS:
        parser.add_argument(
            flag.name,
            dest=flag.attribute,
            action="append",
            nargs=None if flag.const is None else "?",
            const=flag.const,
        )
    given = vars(parser.parse_args(arguments))
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for flag in FLAGS:
        origin, texts = flag.name, cast("list[str] | None", given[flag.attribute])
        if texts is None:
            origin, texts = (
                f"environment variable {flag.variable}",
                _from_environment(flag, environ),
            )
        if not texts:
            continue
        try:
            values[flag.attribute] = flag.value(texts)
        except ValueError as error:
            parser.error(f"{origin}: {error}, not {', '.join(texts)!r}")
        origins[flag.attribute] = origin
    options = Options(**cast("dict[str, Any]", values))
    problem = conflict(options, origins)
    if problem is not None:
        parser.error(problem)
    return options


def _from_environment(flag: Flag, environ: Mapping[str, str]) -> list[str]:
    text = environ.get(flag.variable, "")
    parts = text.split(",") if flag.repeatable else [text]
    return [part.strip() for part in parts if part.strip()]


class _Parser(argparse.ArgumentParser):
    """argparse, with the rows' own help and short usage errors."""

    def format_help(self) -> str:
        return _help_text()

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{PROGRAM}: error: {message}\nTry {PROGRAM} --help.\n")
        raise SystemExit(2)


def _help_text() -> str:
    lines = [f"usage: {PROGRAM} [flags]", "", _ABOUT]
    for group in dict.fromkeys(flag.group for flag in FLAGS):
        lines += ["", f"{group}:"]
        for flag in FLAGS:
            if flag.group == group:
                lines += _help_row(_shown(flag), _explained(flag))
    lines += ["", "Other:"]
    lines += _help_row("-h, --help", "Show this help and exit.")
    lines += _help_row("--version", "Show the version and exit.")
    return "\n".join([*lines, "", _HELP_END])


def _help_row(left: str, right: str) -> list[str]:
    # What a no-break space joins stays on one line.
    rows = [
        row.replace("\N{NO-BREAK SPACE}", " ")
        for row in textwrap.wrap(right, _HELP_WIDTH - _HELP_INDENT)
    ]
    margin = " " * _HELP_INDENT
    if len(left) > _HELP_INDENT - 4:  # it would not stand clear of the text
        return [f"  {left}", *(margin + row for row in rows)]
    return [f"  {left:<{_HELP_INDENT - 2}}{rows[0]}", *(margin + row for row in rows[1:])]


def _shown(flag: Flag) -> str:
    if flag.const is None:
        return f"{flag.name}={flag.metavar}"
    return f"{flag.name}[={flag.metavar}]" if flag.metavar else flag.name


def _explained(flag: Flag) -> str:
    repeat = " Repeatable." if flag.repeatable else ""
    has_default = flag.default is not None and flag.const is None
    default = f" Default:\N{NO-BREAK SPACE}{flag.default}" if has_default else ""
    return f"{flag.help}{repeat}{default}"
