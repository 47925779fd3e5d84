"""`--check-idle`: report open restore sessions, for maintenance scripts and as a Nagios plugin."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from exporter.commands.fetching import fetch_all
from exporter.config import Config
from exporter.flags import ALL_SERVERS, PROGRAM
from exporter.polling.full_list import FullList, read_full_list
from exporter.system.failure import UNKNOWN
from exporter.system.files import write_stdout
from exporter.system.standard_error import print_error
from exporter.text import format_instant, format_table, human_duration, one_line
from exporter.vb365.errors import Vb365Error
from exporter.vb365.records.restore_session import RestoreSession

IDLE, OPEN = 0, 1
"""The exit statuses beside UNKNOWN. Nagios reads them as OK and WARNING; 2 is wrong usage."""
_WRONG_USAGE = 2

# Nagios and Icinga kill a plugin after a minute, and the last request may take up to its own deadline.
_RETRY_SECONDS = 10.0

Result = FullList | Vb365Error | None
"""The open sessions of a server, or why they are not known; None after a stop or a defect."""


def check_idle(config: Config, name: str, stop: threading.Event) -> int:
    """Print whether restore sessions are open; return IDLE, OPEN or UNKNOWN, or 2 if there is no such server.

    The whole history is listed, whatever the configuration follows: a session may have been open for weeks. OPEN
    precedes UNKNOWN, because no response of the other servers could change the decision to wait.

    Raises:
        OutputError: standard output cannot be written.
        ThreadLimitError: the process cannot have a thread for each server.
    """
    servers = [server for server in config.servers if name in {server.name, ALL_SERVERS}]
    if not servers and name != ALL_SERVERS:
        known = ", ".join(one_line(server.name) for server in config.servers) or "none"
        print_error(
            f"{PROGRAM}: error: --check-idle: no server is named {one_line(name)!r}; configured: {known}\n"
        )
        return _WRONG_USAGE
    fetched = fetch_all(
        servers,
        stop,
        lambda _server, client: read_full_list(client, lambda: FullList(_if_open)),
        retry_seconds=_RETRY_SECONDS,
    )
    results = {server.name: fetched.get(server.name) for server in servers}
    status, text = idle_report(results, datetime.now(UTC))
    write_stdout([text.encode()])
    return status


def _if_open(session: RestoreSession) -> RestoreSession | None:
    return None if session.stopped else session


def idle_report(results: Mapping[str, Result], now: datetime) -> tuple[int, str]:
    """Return the exit status and the text: a line for Nagios, then a line for each open session and failed server."""
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    hints: list[str] = []
    opened: list[datetime] = []
    for server, result in results.items():
        if isinstance(result, FullList):
            sessions = sorted(result.sessions, key=lambda one: (one.creation_time, one.id))
            rows += (_row(server, session, now) for session in sessions)
            opened += (session.creation_time for session in sessions)
            if not result.listed and not result.rejected:
                hints.append(
                    f"{_safe(server)} lists no sessions at all: check whether the account can see them"
                )
        if problem := _problem(result):
            problems.append(f"{_safe(server)} could not be checked: {problem}")
    status, summary = _summary(list(results), opened, problems, now)
    if status == UNKNOWN and len(problems) == 1:
        problems = []  # the first line has it
    table = format_table(rows) if rows else ""
    return status, f"{summary}\n{table}" + "".join(f"{line}\n" for line in (*problems, *hints))


def _summary(
    servers: Sequence[str], opened: Sequence[datetime], problems: Sequence[str], now: datetime
) -> tuple[int, str]:
    failed = f"{len(problems)} of {len(servers)} servers could not be checked"
    if opened:
        longest = human_duration((now - min(opened)).total_seconds())
        text = f"{len(opened)} restore sessions are open, the longest for {longest}"
        if len(opened) == 1:
            text = f"1 restore session has been open for {longest}"
        rest = f"; {failed}" if problems else ""
        return OPEN, f"WARNING - {text}{rest} | open_sessions={len(opened)}"
    if not servers:
        return UNKNOWN, "UNKNOWN - no server belongs to this shard, nothing was checked"
    if problems:
        return UNKNOWN, f"UNKNOWN - {problems[0] if len(problems) == 1 else failed}"
    where = _safe(servers[0]) if len(servers) == 1 else f"any of {len(servers)} servers"
    return IDLE, f"OK - no restore session is open on {where} | open_sessions=0"


def _problem(result: Result) -> str:
    """Return why it is not certain which sessions are open; empty if it is."""
    if result is None:
        return "the check was stopped or failed unexpectedly"
    if isinstance(result, Vb365Error):
        return _safe(result.message)
    if rejected := result.rejected.total():
        reasons = ", ".join(sorted(result.rejected))
        return f"{rejected} of its sessions cannot be read ({reasons}) and may be open"
    return ""


def _row(server: str, session: RestoreSession, now: datetime) -> tuple[str, ...]:
    since = human_duration(session.elapsed_seconds(now))
    return (
        _safe(server),
        _safe(session.organization) or "-",
        session.type,
        f"opened {format_instant(session.creation_time)} ({since} ago)",
        session.id,
    )


def _safe(text: str) -> str:
    """Return foreign text on one line without `|`, after which Nagios expects performance data."""
    return one_line(text).replace("|", "\N{BROKEN BAR}")
