"""The flags: one row each, which is a field of `Options` as well."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from exporter.flags.readers import (
    ListenAddress,
    boolean,
    choice,
    file,
    limit,
    listen_address,
    url_path,
    whole_number,
)
from exporter.logs import LogFormat, LogLevel

__all__ = ["ENVIRONMENT_PREFIX", "FLAGS", "Flag", "ListFormat", "Options"]

ENVIRONMENT_PREFIX = "VB365_EXPORTER_"

ListFormat = Literal["table", "json"]

_MOST_SHARDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What the parser, `--help` and the documentation know of a flag.

    `read` turns text into the value and raises ValueError with what it must be. `const` is the text
    that the flag means when it is given without a value, if it may be. Without a default it is None
    until it is given.
    """

    name: str
    group: str
    help: str
    read: Callable[[str], object]
    default: str | None
    metavar: str
    const: str | None
    repeatable: bool

    @property
    def variable(self) -> str:
        """The environment variable of the flag."""
        return ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", self.name.removeprefix("--")).upper()

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


def _flag(
    name: str,
    text: str,
    *,
    group: str,
    read: Callable[[str], object],
    default: str | None = None,
    metavar: str = "",
    const: str | None = None,
    repeatable: bool = False,
) -> Any:
    """A field of Options for the flag of that name."""
    flag = Flag(
        name=name,
        group=group,
        help=text,
        read=read,
        default=default,
        metavar=metavar,
        const=const,
        repeatable=repeatable,
    )
    value = None if default is None else flag.value([default])
    return field(default=value, metadata={"flag": flag})


def _switch(name: str, text: str, *, group: str) -> Any:
    """A flag that is off; `--x` and `--x=true` switch it on."""
    return _flag(name, text, group=group, read=boolean, default="false", const="true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line and the environment say. A flag is added by one row here."""

    config_file: Path = _flag(  # noqa: RUF009 - it makes a field()
        "--config.file",
        "Configuration.",
        group="Configuration",
        read=file,
        default="config.yaml",
        metavar="FILE",
    )
    config_check: bool = _switch(
        "--config.check",
        "Validate the configuration and exit: 0, or 1 with one line per problem.",
        group="Configuration",
    )
    demo: bool = _switch(
        "--demo",
        "Show the exporter at work with a simulated server inside; no configuration needed.",
        group="Trying it out",
    )
    once: bool = _switch(
        "--once",
        "Poll every server once, write the metrics to standard output and exit: 0 if all "
        "answered fully, else 1.",
        group="Running once",
    )
    output_file: Path | None = _flag(  # noqa: RUF009 - it makes a field()
        "--output.file",
        "With --once: write there instead, replacing the file as a whole, as node_exporter's "
        "textfile collector wants it.",
        group="Running once",
        read=file,
        metavar="FILE",
    )
    list_sessions: ListFormat | None = _flag(  # noqa: RUF009 - it makes a field()
        "--list-sessions",
        "Print the restore sessions of each server, running ones first, then the newest, as a "
        "table or as JSON for scripts, and exit.",
        group="Running once",
        read=choice(ListFormat),
        metavar="json",
        const="table",
    )
    web_listen_address: tuple[ListenAddress, ...] = _flag(
        "--web.listen-address",
        "Address to serve on.",
        group="Web",
        read=listen_address,
        default=":10365",
        metavar="[HOST]:PORT",
        repeatable=True,
    )
    web_telemetry_path: str = _flag(
        "--web.telemetry-path",
        "Path of the metrics.",
        group="Web",
        read=url_path,
        default="/metrics",
        metavar="PATH",
    )
    web_config_file: Path | None = _flag(  # noqa: RUF009 - it makes a field()
        "--web.config.file",
        "Web configuration as in exporter-toolkit: TLS, client certificates, basic authentication.",
        group="Web",
        read=file,
        metavar="FILE",
    )
    web_systemd_socket: bool = _switch(
        "--web.systemd-socket",
        "Serve on the sockets of a systemd socket unit instead.",
        group="Web",
    )
    web_enable_lifecycle: bool = _switch(
        "--web.enable-lifecycle", "Allow POST /-/reload.", group="Web"
    )
    web_max_requests: int = _flag(
        "--web.max-requests",
        "Scrapes in flight; more get 503 with Retry-After. 0 lifts the limit.",
        group="Web",
        read=limit,
        default="40",
        metavar="NUMBER",
    )
    shard: int = _flag(
        "--shard",
        "Which of the shards this instance is, counted from 0. It polls only the servers whose "
        "names hash to it.",
        group="Several instances",
        read=whole_number(0, _MOST_SHARDS - 1),
        default="0",
        metavar="NUMBER",
    )
    total_shards: int = _flag(
        "--total-shards",
        "How many instances share the servers.",
        group="Several instances",
        read=whole_number(1, _MOST_SHARDS),
        default="1",
        metavar="NUMBER",
    )
    audit_log_file: Path | None = _flag(  # noqa: RUF009 - it makes a field()
        "--audit.log-file",
        "One JSON line per start and end of a restore session, with all that VB365 says of it, "
        "personal data too; - for standard output. Without effect with --list-sessions and "
        "--config.check.",
        group="Audit log",
        read=file,
        metavar="FILE",
    )
    log_level: LogLevel = _flag(  # noqa: RUF009 - it makes a field()
        "--log.level",
        "Least severe log events to write: debug, info, warn or error.",
        group="Log",
        read=choice(LogLevel),
        default="info",
        metavar="LEVEL",
    )
    log_format: LogFormat = _flag(  # noqa: RUF009 - it makes a field()
        "--log.format",
        "Format of the log on standard error: logfmt or json.",
        group="Log",
        read=choice(LogFormat),
        default="logfmt",
        metavar="FORMAT",
    )


FLAGS: tuple[Flag, ...] = tuple(row.metadata["flag"] for row in fields(Options))
"""Every flag that has a value, in the order of `--help`; `--help` and `--version` have none."""
