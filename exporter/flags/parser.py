"""Parses arguments and environment into `Options`, and prints the help."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn

from exporter import __version__
from exporter.flags.options import ENVIRONMENT_PREFIX, FLAGS, Flag, Options

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
  1  failure: an unusable configuration, or an address or file that is not
     available; with --once and --list-sessions also a server that did not
     answer fully, or a signal that came before the end
  2  wrong usage
"""

# Each of these runs and exits; without any of them the exporter serves.
_COMMANDS = ("config_check", "once", "list_sessions")


def version_line() -> str:
    """Return what `--version` prints."""
    return f"{PROGRAM}, version {__version__} (python {platform.python_version()})"


def parse(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Return the options of arguments (without the program's name) and environment variables.

    Other variables with the prefix are ignored: Kubernetes sets such names.

    Raises:
        SystemExit: status 2 after an error message for wrong usage; 0 after `--help`, `--version`.
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
    arguments_of = vars(parser.parse_args(arguments))
    values: dict[str, Any] = {}
    origins = {flag.attribute: flag.name for flag in FLAGS}
    for flag in FLAGS:
        texts = arguments_of[flag.attribute]
        if texts is None:
            texts = _from_environment(flag, environ)
            if not texts:
                continue
            origins[flag.attribute] = f"environment variable {flag.variable}"
        try:
            values[flag.attribute] = flag.value(texts)
        except ValueError as error:
            parser.error(f"{origins[flag.attribute]}: {error}, not {', '.join(texts)!r}")
    options = Options(**values)
    conflict = _conflict(options, origins)
    if conflict is not None:
        parser.error(conflict)
    return options


def _conflict(options: Options, origins: Mapping[str, str]) -> str | None:
    """Return why flags exclude each other, or None when they do not.

    Args:
        options: all of them.
        origins: the flag of each attribute, or the environment variable that it comes from.
    """
    for one, other in (*combinations(_COMMANDS, 2), ("config_check", "demo")):
        if getattr(options, one) and getattr(options, other):
            return f"{origins[one]} and {origins[other]} cannot be given together"
    if options.output_file is not None and not options.once:
        return f"{origins['output_file']} is for --once, which is not given"
    if options.once and options.output_file is None and options.audit_log_file == Path("-"):
        return f"{origins['audit_log_file']} and {origins['once']} both write to standard output"
    if options.shard >= options.total_shards:
        return (
            f"{origins['shard']} ({options.shard}) must be lower than "
            f"{origins['total_shards']} ({options.total_shards})"
        )
    if options.demo and options.total_shards > 1:
        return f"{origins['demo']} and {origins['total_shards']} cannot be given together"
    return None


def _from_environment(flag: Flag, environ: Mapping[str, str]) -> list[str]:
    text = environ.get(flag.variable, "")
    parts = text.split(",") if flag.repeatable else [text]
    return [part.strip() for part in parts if part.strip()]


class _Parser(argparse.ArgumentParser):
    """argparse with the help of the rows and short usage errors."""

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
