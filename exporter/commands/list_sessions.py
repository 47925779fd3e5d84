"""`--list-sessions`: which restore sessions there are, so that a user finds ids for the configuration."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from exporter.config import Config, ServerConfig
from exporter.flags import ListFormat
from exporter.metrics.labels import label_value
from exporter.system.files import write_stdout
from exporter.text import format_table, human_duration
from exporter.vb365.client import Client
from exporter.vb365.errors import Vb365Error, one_line
from exporter.vb365.http.tls import warn_if_unverified
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["Listing", "json_text", "list_sessions", "table_text"]

log = structlog.get_logger()

# Somebody sits and waits: requests that fail are repeated for so long, whatever the poll interval.
_PATIENCE_SECONDS = 60.0
# Windows notices Ctrl-C only between waits.
_WAKE_SECONDS = 1.0
_HEAD = ("ID", "ORGANIZATION", "TYPE", "STATE", "RESULT", "CREATED", "DURATION")
_NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What one server answered."""

    server: str
    sessions: tuple[RestoreSession, ...]
    """Running ones first, then the newest."""


def list_sessions(config: Config, form: ListFormat, stop: threading.Event) -> int:
    """Ask and print, and return the exit status: 0 if every server answered fully, else 1.

    The whole history is walked, whatever `discover`, `ids` and the limits in the configuration say. A server whose
    list did not come to its end is told of in the log and not printed: an id that is missing there would seem not to exist.

    Args:
        config: whom to ask.
        form: what to print.
        stop: abandons it; then nothing is printed.

    Raises:
        OutputError: standard output cannot be written.
    """
    answers = _ask_all(config.servers, stop)
    if stop.is_set():
        log.warning("stopped before the lists had ended, nothing is printed")
        return 1
    listings = [answer for answer in answers if answer is not None]
    for listing in listings:
        if not listing.sessions:
            log.info("the account sees no restore sessions", server=listing.server)
    if form == "json":
        text = json_text(listings)
    else:
        text = table_text(listings, datetime.now(UTC), headed=len(config.servers) > 1)
    printed = write_stdout([text.encode()])
    return 0 if printed and len(listings) == len(answers) else 1


def table_text(listings: Iterable[Listing], now: datetime, *, headed: bool) -> str:
    """A table per server that has sessions, below its name if `headed`."""
    return "\n".join(
        (f"{one_line(listing.server)}:\n" if headed else "")
        + format_table([_HEAD, *(_row(session, now) for session in listing.sessions)])
        for listing in listings
        if listing.sessions
    )


def json_text(listings: Iterable[Listing]) -> str:
    """One array of all sessions, a line each; the texts are those of the labels on `/metrics`."""
    objects = [
        json.dumps(_object(listing.server, session))
        for listing in listings
        for session in listing.sessions
    ]
    return "[\n" + ",\n".join(objects) + "\n]\n" if objects else "[]\n"


def _ask_all(servers: Sequence[ServerConfig], stop: threading.Event) -> list[Listing | None]:
    """What each server answered, None where it did not; all are asked at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(servers)), thread_name_prefix="list") as workers:
        asked = [workers.submit(_ask, server, stop) for server in servers]
        while wait(asked, timeout=_WAKE_SECONDS).not_done:
            pass
    return [one.result() for one in asked]


def _ask(server: ServerConfig, stop: threading.Event) -> Listing | None:
    warn_if_unverified(server)
    client = Client(server, observer=_NoObserver(), stop=stop)
    try:
        sessions = _walk(server, client)
    except Vb365Error as error:
        if not stop.is_set():
            log.error(  # noqa: TRY400 - the message says it all
                "restore sessions cannot be listed",
                server=server.name,
                reason=error.reason,
                error=str(error),
            )
        return None
    finally:
        client.close()
    return Listing(server=server.name, sessions=sessions)


def _walk(server: ServerConfig, client: Client) -> tuple[RestoreSession, ...]:
    found: dict[str, RestoreSession] = {}
    rejected: Counter[str] = Counter()
    with client.poll(time.monotonic() + _PATIENCE_SECONDS):
        for page in client.list_sessions(created_since=None):
            # Pages shift while sessions start: one may come twice.
            found.update((session.id, session) for session in page.sessions)
            rejected.update(rejection.reason for rejection in page.rejections)
    for reason, records in rejected.items():
        log.warning(
            "records rejected, the others are listed",
            server=server.name,
            reason=reason,
            records=records,
        )
    newest_first = sorted(found.values(), key=lambda one: (one.creation_time, one.id), reverse=True)
    return tuple(sorted(newest_first, key=lambda session: session.stopped))


def _row(session: RestoreSession, now: datetime) -> tuple[str, ...]:
    seconds = (
        session.duration_seconds
        if session.stopped
        else (now - session.creation_time).total_seconds()
    )
    return (
        session.id,
        one_line(session.organization) or _NONE,
        session.type,
        session.state,
        session.result or _NONE,
        _instant(session.creation_time),
        human_duration(seconds),
    )


def _object(server: str, session: RestoreSession) -> dict[str, object]:
    ended = session.end_time if session.stopped else None
    seconds = session.duration_seconds
    return {
        "server": label_value(server),
        "id": session.id,
        "organization": label_value(session.organization),
        "type": session.type,
        "state": session.state,
        "result": session.result,
        "created": _instant(session.creation_time),
        "ended": None if ended is None else _instant(ended),
        "duration_seconds": None if seconds is None else round(seconds, 3),
    }


def _instant(moment: datetime) -> str:
    """To the second and with a Z: the form that every tool reads, `jq` for one."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


class _NoObserver:
    """Counts nothing: this process serves no metrics."""

    def request(self, operation: str, code: str, seconds: float) -> None:
        """A request has ended."""

    def retry(self, operation: str) -> None:
        """A request is about to be repeated."""
