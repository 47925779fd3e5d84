"""`--list-sessions`: print the restore sessions of every server, for example to find ids for the configuration."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from exporter.config import Config, ServerConfig
from exporter.flags import ListFormat
from exporter.system.files import write_stdout
from exporter.system.signals import WAKE_SECONDS
from exporter.text import format_instant, format_table, human_duration, label_value, one_line
from exporter.threads import start_thread
from exporter.vb365.client import Client
from exporter.vb365.errors import BadResponseError, Vb365Error
from exporter.vb365.http.tls import warn_if_unverified
from exporter.vb365.paging import reread_if_moved
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["Listings", "json_text", "list_sessions", "table_text"]

log = structlog.get_logger()

# A user is waiting: failed requests are retried for this long, whatever the poll interval.
_RETRY_SECONDS = 60.0
# About 1 GB of memory.
_MAX_SESSIONS = 1_000_000
# The maximum wait for logouts after a stop.
_LOGOUT_SECONDS = 2.5
_COLUMNS = ("ID", "ORGANIZATION", "TYPE", "STATE", "RESULT", "CREATED", "DURATION")
_EMPTY = "-"


Listings = Mapping[str, Sequence[RestoreSession]]
"""The sessions of each server: running ones first, then finished ones, both newest first."""


def list_sessions(config: Config, form: ListFormat, stop: threading.Event) -> int:
    """Fetch and print all sessions; return the exit status: 0 if every server's list is complete, else 1.

    The whole history is fetched, whatever `discover`, `ids` and limits are configured. A server whose list cannot be
    fetched completely is logged and not printed: an id missing from its list would appear not to exist.

    Args:
        config: the servers to list.
        form: the output format.
        stop: cancels the requests when set; then nothing is printed.

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
    """List all servers concurrently; leave out servers that failed.

    Raises:
        ThreadLimitError: the process cannot have a thread for each server.
    """
    fetched: dict[str, Sequence[RestoreSession]] = {}

    # Daemon threads do not delay the interpreter's exit; name resolution cannot be cancelled.
    threads = [
        start_thread(partial(_fetch, server, stop, fetched), name=f"list-{server.name}")
        for server in servers
    ]
    while not stop.is_set() and any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(WAKE_SECONDS / len(threads))
    stopped_at = time.monotonic()
    for thread in threads:
        thread.join(max(0.0, stopped_at + _LOGOUT_SECONDS - time.monotonic()))
    return {one.name: fetched[one.name] for one in servers if one.name in fetched}


def _fetch(
    server: ServerConfig, stop: threading.Event, fetched: dict[str, Sequence[RestoreSession]]
) -> None:
    warn_if_unverified(server)
    client = Client(server, observer=_NoObserver(), stop=stop)
    try:
        fetched[server.name] = _fetch_sessions(server, client)
    except Vb365Error as error:
        if not stop.is_set():
            log.error(  # noqa: TRY400 - the message is complete
                "cannot list restore sessions",
                server=server.name,
                reason=error.reason,
                error=str(error),
            )
    finally:
        client.close()


def _fetch_sessions(server: ServerConfig, client: Client) -> Sequence[RestoreSession]:
    with client.poll(time.monotonic() + _RETRY_SECONDS):
        found, rejected = reread_if_moved(partial(_read_list, client))
    for reason, records in rejected.items():
        log.warning(
            "records rejected, listing the others",
            server=server.name,
            reason=reason,
            records=records,
        )
    newest_first = sorted(found.values(), key=lambda one: (one.creation_time, one.id), reverse=True)
    return sorted(newest_first, key=lambda session: session.stopped)


def _read_list(client: Client, page_size: int) -> tuple[dict[str, RestoreSession], Counter[str]]:
    """Return the sessions of the full list by id, and the number of rejected records by reason.

    Raises:
        BadResponseError: the list is too long, or endless.
    """
    found: dict[str, RestoreSession] = {}
    rejected: Counter[str] = Counter()
    for page in client.list_sessions(created_since=None, page_size=page_size):
        # Pages shift when sessions start, so a session may appear twice.
        found.update((session.id, session) for session in page.sessions)
        rejected.update(rejection.reason for rejection in page.rejections)
        if len(found) + rejected.total() > _MAX_SESSIONS:
            raise BadResponseError(f"more than {_MAX_SESSIONS} sessions", operation="list")
    return found, rejected


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
    ended, seconds = session.ended_at, session.duration_seconds
    return {
        "server": label_value(server),
        "id": session.id,
        "organization": label_value(session.organization),
        "type": session.type,
        "state": session.state,
        "result": session.result,
        "created": format_instant(session.creation_time),
        "ended": None if ended is None else format_instant(ended),
        "duration_seconds": None if seconds is None else round(seconds, 3),
    }


class _NoObserver:
    """Ignores requests and retries: this command exports no metrics."""

    def request(self, operation: str, code: str, seconds: float) -> None:
        """Do nothing."""

    def retry(self, operation: str) -> None:
        """Do nothing."""
