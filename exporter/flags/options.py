"""The flags: each is a field of `Options`, declared with its name, help and reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from exporter.flags.readers import (
    boolean,
    choice,
    file,
    limit,
    organization,
    period,
    server_name,
    url_path,
    whole_number,
)
from exporter.logs import LogFormat, LogLevel
from exporter.web.listeners import Address

ENVIRONMENT_PREFIX = "VB365_EXPORTER_"

ALL_SERVERS = "*"
"""Stands for every server in place of a name."""

ListFormat = Literal["table", "json"]
ReportFormat = Literal["html", "csv", "json"]

COMMANDS = ("config_check", "once", "list_sessions", "check_connection", "check_idle", "report")
"""With one of these options, the program does its work and exits; without, it serves."""

_MAX_SHARDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag, for the parser, `--help` and the documentation.

    Args:
        name: the flag, such as `--log.level`.
        help: what it does.
        group: its heading in `--help`.
        read: turns text into the value; raises ValueError with a message that starts with "must".
        default: the text to read when the flag is absent; without it, the value is None, or an empty tuple.
        metavar: the placeholder of the value in `--help`.
        const: the text to read when the flag has no value; without it, a value is required.
        repeatable: whether the flag may be repeated; its value is then a tuple.
    """

    name: str
    help: str
    group: str
    read: Callable[[str], object]
    default: str | None = None
    metavar: str = ""
    const: str | None = None
    repeatable: bool = False

    @property
    def attribute(self) -> str:
        """The name of the flag's field in `Options`."""
        return re.sub(r"[.-]", "_", self.name.removeprefix("--"))

    @property
    def variable(self) -> str:
        """The environment variable of the flag."""
        return ENVIRONMENT_PREFIX + self.attribute.upper()

    def value(self, texts: Sequence[str]) -> object:
        """Return the value: of the last text, or of all texts if the flag is repeatable.

        Raises:
            ValueError: the flag does not accept the text.
        """
        if self.repeatable:
            return tuple(self.read(text) for text in texts)
        return self.read(texts[-1])


def _flag(name: str, text: str, **settings: Any) -> Any:
    """Declare a flag as a field of `Options`."""
    flag = Flag(name=name, help=text, **settings)
    absent = () if flag.repeatable else None
    value = absent if flag.default is None else flag.value([flag.default])
    return field(default=value, metadata={"flag": flag})


def _switch(name: str, text: str, *, group: str) -> Any:
    """Declare a flag that is false unless it is given as `--x` or `--x=true`."""
    return _flag(name, text, group=group, read=boolean, default="false", const="true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The values of all flags."""

    config_file: Path = _flag(
        "--config.file",
        "Configuration file (YAML).",
        group="Configuration",
        read=file,
        default="config.yaml",
        metavar="FILE",
    )
    config_check: bool = _switch(
        "--config.check",
        "Validate the configuration without a connection and exit with status 0, or with 1 and one line per "
        "problem. Probable mistakes are warnings.",
        group="Configuration",
    )
    demo: bool = _switch(
        "--demo",
        "Run the exporter with a built-in simulated server. It needs no configuration.",
        group="Trying it out",
    )
    once: bool = _switch(
        "--once",
        "Poll every server once, write the metrics to standard output and exit with status 0 if every "
        "poll succeeded, else 1.",
        group="Running once",
    )
    output_file: Path | None = _flag(
        "--output.file",
        "With --once or --report, write to this file instead of standard output, replacing it atomically, as "
        "node_exporter's textfile collector requires. A new file has mode 0644.",
        group="Running once",
        read=file,
        metavar="FILE",
    )
    list_sessions: ListFormat | None = _flag(
        "--list-sessions",
        "Print the restore sessions of each server, running ones first, then the newest, as a "
        "table or as JSON for scripts, and exit.",
        group="Running once",
        read=choice(ListFormat),
        metavar="json",
        const="table",
    )
    check_connection: bool = _switch(
        "--check-connection",
        "Connect to each server step by step, from resolving its name to listing the organizations that the "
        "account can see, print what each step finds, and exit with status 0 if no step failed, else 1.",
        group="Running once",
    )
    check_idle: str | None = _flag(
        "--check-idle",
        "List the open restore sessions of each server, or of the server NAME, and exit with status 0 if "
        "no session is open, 1 if at least one is, or 3 if no open session was found but a server could not "
        "be checked. For maintenance scripts and Nagios.",
        group="Running once",
        read=server_name,
        metavar="NAME",
        const=ALL_SERVERS,
    )
    report: ReportFormat | None = _flag(
        "--report",
        "Write a report on the restores of a period, as evidence, and exit: an HTML page for print and screen, "
        "a table of the sessions as CSV, or everything as JSON. The exit status is 1 if a server is missing from "
        "the report.",
        group="Report",
        read=choice(ReportFormat),
        metavar="csv|json",
        const="html",
    )
    report_since: float = _flag(
        "--report.since",
        "How far back the report reaches.",
        group="Report",
        read=period,
        default="90d",
        metavar="DURATION",
    )
    report_organization: tuple[str, ...] = _flag(
        "--report.organization",
        "Report on this organization only.",
        group="Report",
        read=organization,
        metavar="NAME",
        repeatable=True,
    )
    web_listen_address: tuple[Address, ...] = _flag(
        "--web.listen-address",
        "Address to serve on.",
        group="Web",
        read=Address.parse,
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
    web_config_file: Path | None = _flag(
        "--web.config.file",
        "Web configuration as in exporter-toolkit: TLS, client certificates, basic authentication.",
        group="Web",
        read=file,
        metavar="FILE",
    )
    web_systemd_socket: bool = _switch(
        "--web.systemd-socket",
        "Serve on the sockets of a systemd socket unit instead of --web.listen-address.",
        group="Web",
    )
    web_enable_lifecycle: bool = _switch(
        "--web.enable-lifecycle", "Allow POST /-/reload.", group="Web"
    )
    web_max_requests: int = _flag(
        "--web.max-requests",
        "Maximum number of scrapes in flight; further scrapes get 503 with Retry-After. 0 means no limit.",
        group="Web",
        read=limit,
        default="40",
        metavar="NUMBER",
    )
    shard: int = _flag(
        "--shard",
        "Index of the shard of this instance, starting at 0. The instance polls only the servers whose "
        "names hash to it.",
        group="Several instances",
        read=whole_number(0, _MAX_SHARDS - 1),
        default="0",
        metavar="NUMBER",
    )
    total_shards: int = _flag(
        "--total-shards",
        "Number of instances that share the servers.",
        group="Several instances",
        read=whole_number(1, _MAX_SHARDS),
        default="1",
        metavar="NUMBER",
    )
    audit_log_file: Path | None = _flag(
        "--audit.log-file",
        "Write one JSON line per start and end of a restore session to this file, or to standard output "
        "if it is -, with every field from VB365, including personal data. Of the commands that exit, only --once "
        "writes it.",
        group="Audit log",
        read=file,
        metavar="FILE",
    )
    log_level: LogLevel = _flag(
        "--log.level",
        "Lowest severity to log: debug, info, warn or error.",
        group="Log",
        read=choice(LogLevel),
        default="info",
        metavar="LEVEL",
    )
    log_format: LogFormat = _flag(
        "--log.format",
        "Format of the log on standard error: logfmt or json.",
        group="Log",
        read=choice(LogFormat),
        default="logfmt",
        metavar="FORMAT",
    )

    @property
    def serves(self) -> bool:
        """Whether none of the `COMMANDS` is given."""
        return not any(getattr(self, command) for command in COMMANDS)


FLAGS: tuple[Flag, ...] = tuple(one.metadata["flag"] for one in fields(Options))
"""Every flag except `--help` and `--version`, in the order of `--help`."""
