"""`--list-sessions`: print the restore sessions of every server, for example to find ids for the configuration."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from exporter.commands.fetching import fetch_all
from exporter.config import Config, ServerConfig
from exporter.flags import ListFormat
from exporter.polling.full_list import FullList, read_full_list
from exporter.system.files import write_stdout
from exporter.text import (
    format_instant,
    format_table,
    human_duration,
    json_value,
    label_value,
    one_line,
)
from exporter.vb365.errors import Vb365Error
from exporter.vb365.records.restore_session import RestoreSession

log = structlog.get_logger()

_COLUMNS = ("ID", "ORGANIZATION", "TYPE", "STATE", "RESULT", "CREATED", "DURATION")
_EMPTY = "-"

Listings = Mapping[str, Sequence[RestoreSession]]
"""The sessions of each server: running ones first, then finished ones, both newest first."""


def list_sessions(config: Config, form: ListFormat, stop: threading.Event) -> int:
    """Fetch and print all sessions; return the exit status: 0 if every server's list is complete, else 1.

    The whole history is fetched, whatever `discover`, `ids` and limits are configured. A server whose list cannot be
    fetched completely is logged and not printed: an id missing from its list would appear not to exist. Nothing is
    printed after a stop.

    Raises:
        OutputError: standard output cannot be written.
        ThreadLimitError: the process cannot have a thread for each server.
    """
    listings = _fetch_all(config.servers, stop)
    if stop.is_set():
        log.warning("stopped before all sessions were listed, nothing printed")
        return 1
    for server, sessions in listings.items():
        if not sessions:
            log.info("the account can see no restore sessions", server=server)
    if form == "json":
        text = json_text(listings)
    else:
        text = table_text(listings, datetime.now(UTC), headed=len(config.servers) > 1)
    printed = write_stdout([text.encode()])
    return 0 if printed and len(listings) == len(config.servers) else 1


def table_text(listings: Listings, now: datetime, *, headed: bool) -> str:
    """Format a table for each server that has sessions, under the server's name if `headed`."""
    return "\n".join(
        (f"{one_line(server)}:\n" if headed else "")
        + format_table([_COLUMNS, *(_row(session, now) for session in sessions)])
        for server, sessions in listings.items()
        if sessions
    )


def json_text(listings: Listings) -> str:
    """Format an array of all sessions, one per line, with the same texts as in the labels on `/metrics`."""
    objects = [
        json.dumps(_object(server, session))
        for server, sessions in listings.items()
        for session in sessions
    ]
    return "[\n" + ",\n".join(objects) + "\n]\n" if objects else "[]\n"


def _fetch_all(servers: Sequence[ServerConfig], stop: threading.Event) -> Listings:
    """List all servers concurrently; log and leave out servers that failed."""
    listings: dict[str, Sequence[RestoreSession]] = {}
    fetched = fetch_all(servers, stop, lambda _server, client: read_full_list(client, FullList))
    for server, result in fetched.items():
        if isinstance(result, Vb365Error):
            log.error(
                "cannot list restore sessions",
                server=server,
                reason=result.reason,
                error=result.message,
            )
            continue
        for reason, records in result.rejected.items():
            log.warning(
                "records rejected, listing the others",
                server=server,
                reason=reason,
                records=records,
            )
        listings[server] = sorted(
            result.sessions,
            key=lambda one: (not one.stopped, one.creation_time, one.id),
            reverse=True,
        )
    return listings


def _row(session: RestoreSession, now: datetime) -> tuple[str, ...]:
    return (
        session.id,
        one_line(session.organization) or _EMPTY,
        session.type,
        session.state,
        session.result or _EMPTY,
        format_instant(session.creation_time),
        human_duration(session.elapsed_seconds(now)),
    )


def _object(server: str, session: RestoreSession) -> dict[str, object]:
    fields = {
        "server": label_value(server),
        "id": session.id,
        "organization": label_value(session.organization),
        "type": session.type,
        "state": session.state,
        "result": session.result,
        "created": session.creation_time,
        "ended": session.ended_at,
        "duration_seconds": session.duration_seconds,
    }
    return {name: json_value(value) for name, value in fields.items()}
