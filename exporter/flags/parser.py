"""Parses arguments and environment variables into `Options`, and formats the help."""

from __future__ import annotations

import argparse
import os
import platform
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

from exporter import __version__
from exporter.flags.options import COMMANDS, ENVIRONMENT_PREFIX, FLAGS, Flag, Options
from exporter.system.standard_error import print_error

PROGRAM = "vb365-restore-exporter"
_HELP_WIDTH = 80
_HELP_INDENT = 24

_ABOUT = "Prometheus exporter for the restore sessions of Veeam Backup for Microsoft 365."
_HELP_END = f"""\
An environment variable can set each flag: {ENVIRONMENT_PREFIX} and the name of the
flag in upper case, with _ for . and -, such as {ENVIRONMENT_PREFIX}LOG_LEVEL=debug.
In a variable, separate the values of a repeatable flag with commas. An empty
variable counts as absent. If both are given, the flag wins.

Exit status:
  0  ok
  1  failure: an unusable configuration, or an address or file that is not
     available; with --once, --list-sessions, --check-connection and --report
     also a server that did not respond completely, or a signal before the end;
     with --check-idle a restore session that is open
  2  wrong usage
  3  with --check-idle any failure
"""

_ONLY_WITH = {
    "output_file": ("once", "report"),
    "report_since": ("report",),
    "report_organization": ("report",),
}


def version_line() -> str:
    """Return what `--version` prints."""
    return f"{PROGRAM}, version {__version__} (python {platform.python_version()})"


def parse(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Return the options in the arguments, without the program's name, and in the environment.

    Unknown variables with the prefix are ignored: Kubernetes sets such names.

    Raises:
        SystemExit: with status 2 for wrong usage, after a message; with 0 after `--help`, `--version`.
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
    values: dict[str, Any] = {}
    origins = {flag.attribute: flag.name for flag in FLAGS}
    for flag in FLAGS:
        texts = given[flag.attribute]
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
    if conflict := _conflict(options, origins):
        parser.error(conflict)
    return options


def _conflict(options: Options, origins: Mapping[str, str]) -> str | None:
    """Return why two options exclude each other, or None. `origins` has the flag or variable that set each option."""
    for one, other in (*combinations(COMMANDS, 2), ("config_check", "demo")):
        if getattr(options, one) and getattr(options, other):
            return f"{origins[one]} and {origins[other]} cannot be given together"
    for name, commands in _ONLY_WITH.items():
        if getattr(options, name) != getattr(Options(), name) and not any(
            getattr(options, command) for command in commands
        ):
            flags = " and ".join(f"--{command}" for command in commands)
            missing = "which is not" if len(commands) == 1 else "neither of which is"
            return f"{origins[name]} is for {flags}, {missing} given"
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
    """argparse, except that help is made from `FLAGS` and usage errors are short."""

    def format_help(self) -> str:
        return _help_text()

    def error(self, message: str) -> NoReturn:
        print_error(f"{PROGRAM}: error: {message}\nTry {PROGRAM} --help.\n")
        raise SystemExit(2)


def _help_text() -> str:
    lines = [f"usage: {PROGRAM} [flags]", "", _ABOUT]
    for group, flags in groupby(FLAGS, key=attrgetter("group")):
        lines += ["", f"{group}:"]
        for flag in flags:
            lines += _help_row(_shown(flag), _explained(flag))
    lines += ["", "Other:"]
    lines += _help_row("-h, --help", "Show this help and exit.")
    lines += _help_row("--version", "Show the version and exit.")
    return "\n".join([*lines, "", _HELP_END]).replace("\N{NO-BREAK SPACE}", " ")


def _help_row(left: str, right: str) -> list[str]:
    margin = " " * _HELP_INDENT
    rows = textwrap.wrap(right, _HELP_WIDTH, initial_indent=margin, subsequent_indent=margin)
    start = f"  {left}  "
    if len(start) > _HELP_INDENT:
        return [start.rstrip(), *rows]
    rows[0] = start.ljust(_HELP_INDENT) + rows[0].lstrip()
    return rows


def _shown(flag: Flag) -> str:
    if flag.const is None:
        return f"{flag.name}={flag.metavar}"
    return f"{flag.name}[={flag.metavar}]" if flag.metavar else flag.name


def _explained(flag: Flag) -> str:
    repeat = " Repeatable." if flag.repeatable else ""
    has_default = flag.default is not None and flag.const is None
    # The no-break space keeps the default on one line.
    default = f" Default:\N{NO-BREAK SPACE}{flag.default}" if has_default else ""
    return f"{flag.help}{repeat}{default}"
