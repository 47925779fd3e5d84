"""The command line: every flag is one row of `Options`, also read from the environment."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

from exporter import __version__
from exporter.logs import LogFormat, LogLevel

__all__ = ["FLAGS", "PROGRAM", "Flag", "ListenAddress", "Options", "parse", "version_line"]

PROGRAM = "vb365-restore-exporter"
_ENVIRONMENT_PREFIX = "VB365_EXPORTER_"
_HELP_WIDTH = 100

_ABOUT = "Prometheus exporter for the restore sessions of Veeam Backup for Microsoft 365."
_HELP_END = f"""\
Each flag can be given as an environment variable: in upper case, with _ for . and -, such as
{_ENVIRONMENT_PREFIX}LOG_LEVEL=debug. Repeatable flags are comma-separated there, and an empty
variable counts as absent. The flag wins.

Exit status: 0 ok, 1 failure, 2 wrong usage.
"""

_HOST = re.compile(r"[A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]")
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+|/")
_TAKEN_PATHS = frozenset({"/config", "/-/healthy", "/-/ready", "/-/reload"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen. An empty host means every address of the machine; port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What the parser, `--help` and the documentation know of a flag.

    `read` turns text into the value and raises ValueError with what it must be. `bare` is the text
    that the flag means when it is given without a value, if it may be.
    """

    name: str
    group: str
    help: str
    read: Callable[[str], object]
    default: str
    metavar: str
    bare: str | None
    repeatable: bool

    @property
    def variable(self) -> str:
        """The environment variable of the flag."""
        return _ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", self.name.removeprefix("--")).upper()

    @property
    def attribute(self) -> str:
        """The attribute of `Options`."""
        return re.sub(r"[.-]", "_", self.name.removeprefix("--"))

    def value(self, texts: Sequence[str]) -> object:
        """The flag's value of what was given, the last one if it is not repeatable.

        Raises:
            ValueError: the text is not one that the flag takes.
        """
        if self.repeatable:
            return tuple(self.read(text) for text in texts)
        return self.read(texts[-1])


def _truth(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be true, false, 1 or 0")
    return words[text.lower()]


def _one_of(words: object) -> Callable[[str], str]:
    options = get_args(words)

    def read(text: str) -> str:
        if text.lower() not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return text.lower()

    return read


def _limit(text: str) -> int:
    """A limit, as node_exporter has it: 0 stands for none."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("must be a whole number, 0 for no limit")
    return int(text) or sys.maxsize


def _file(text: str) -> Path:
    if not text or not text.isprintable():
        raise ValueError("must be the name of a file")
    return Path(text)


def _url_path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("must be a path such as /metrics")
    if text in _TAKEN_PATHS:
        raise ValueError("must not be a path that the exporter uses otherwise")
    return text


def _listen_address(text: str) -> ListenAddress:
    host, colon, port = text.rpartition(":")
    if not (colon and _HOST.fullmatch(host) and re.fullmatch(r"[0-9]{1,5}", port)):
        raise ValueError("must be an address such as :10365, 127.0.0.1:10365 or [::1]:10365")
    if int(port) > 65535:
        raise ValueError("must have a port from 0 to 65535")
    return ListenAddress(host=host.strip("[]"), port=int(port))


def _flag(
    name: str,
    text: str,
    *,
    read: Callable[[str], object],
    default: str,
    metavar: str = "",
    bare: str | None = None,
    repeatable: bool = False,
) -> Any:
    """A field of Options for the flag of that name; its group is what stands before the dot."""
    flag = Flag(
        name=name,
        group=name.removeprefix("--").partition(".")[0],
        help=text,
        read=read,
        default=default,
        metavar=metavar,
        bare=bare,
        repeatable=repeatable,
    )
    return field(default=flag.value([default]), metadata={"flag": flag})


def _switch(name: str, text: str) -> Any:
    """A flag that is off; `--x` and `--x=true` switch it on."""
    return _flag(name, text, read=_truth, default="false", bare="true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line and the environment say. A flag is added by one row here."""

    config_file: Path = _flag(  # noqa: RUF009 - it makes a field()
        "--config.file", "Configuration.", read=_file, default="config.yaml", metavar="FILE"
    )
    config_check: bool = _switch(
        "--config.check",
        "Validate the configuration and exit: 0, or 1 with one line per problem.",
    )
    demo: bool = _switch(
        "--demo",
        "Show the exporter at work with a simulated server inside; no configuration needed.",
    )
    web_listen_address: tuple[ListenAddress, ...] = _flag(
        "--web.listen-address",
        "Address to serve on.",
        read=_listen_address,
        default=":10365",
        metavar="[HOST]:PORT",
        repeatable=True,
    )
    web_telemetry_path: str = _flag(
        "--web.telemetry-path",
        "Path of the metrics.",
        read=_url_path,
        default="/metrics",
        metavar="PATH",
    )
    web_max_requests: int = _flag(
        "--web.max-requests",
        "Scrapes in flight; more get 503 with Retry-After. 0 lifts the limit.",
        read=_limit,
        default="40",
        metavar="NUMBER",
    )
    log_level: LogLevel = _flag(  # noqa: RUF009 - it makes a field()
        "--log.level",
        "Least severe log events to write: debug, info, warn or error.",
        read=_one_of(LogLevel),
        default="info",
        metavar="LEVEL",
    )
    log_format: LogFormat = _flag(  # noqa: RUF009 - it makes a field()
        "--log.format",
        "Format of the log on standard error: logfmt or json.",
        read=_one_of(LogFormat),
        default="logfmt",
        metavar="FORMAT",
    )


FLAGS: tuple[Flag, ...] = tuple(row.metadata["flag"] for row in fields(Options))
"""Every flag that has a value, in the order of `--help`; `--help` and `--version` have none."""

_GROUPS = {"config": "Configuration", "demo": "Trying it out", "web": "Web", "log": "Log"}


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
            nargs=None if flag.bare is None else "?",
            const=flag.bare,
        )
    given = vars(parser.parse_args(arguments))
    values: dict[str, object] = {}
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
    return Options(**cast("dict[str, Any]", values))


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
    for group, title in _GROUPS.items():
        lines += ["", f"{title}:"]
        for flag in FLAGS:
            if flag.group == group:
                lines += _help_row(_shown(flag), _explained(flag))
    lines += ["", "Other:"]
    lines += _help_row("-h, --help", "Show this help and exit.")
    lines += _help_row("--version", "Show the version and exit.")
    return "\n".join([*lines, "", _HELP_END])


def _help_row(left: str, right: str) -> list[str]:
    indent = 38
    rows = textwrap.wrap(right, _HELP_WIDTH - indent)
    first = f"  {left:<{indent - 2}}{rows[0]}"
    return [first, *(" " * indent + row for row in rows[1:])]


def _shown(flag: Flag) -> str:
    return f"{flag.name}={flag.metavar}" if flag.bare is None else flag.name


def _explained(flag: Flag) -> str:
    repeat = " Repeatable." if flag.repeatable else ""
    default = "" if flag.bare is not None else f" Default: {flag.default}"
    return f"{flag.help}{repeat}{default}"
