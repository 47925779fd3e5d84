"""Sample evidence reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from exporter.report.collect import Key, Scope, ServerEvidence
from exporter.report.summarize import FailedServer, Report, summarize
from exporter.text import label_value
from exporter.vb365.records.restore_session import RestoreSession, SessionType
from support.sample_sessions import NOON, running
from support.status_pages import random_sessions

SINCE = NOON - timedelta(days=90)


def evidence(
    sessions: Iterable[RestoreSession] = (),
    *,
    server: str = "hq",
    last_proven: Mapping[Key, datetime] | None = None,
    organizations: Sequence[str] = (),
    **fields: Any,
) -> ServerEvidence:
    """Return what a server shows that lists these sessions, all of the period."""
    newest_first = sorted(
        (one._replace(organization=label_value(one.organization)) for one in sessions),
        key=lambda one: one.creation_time,
        reverse=True,
    )
    listed = frozenset(session.organization for session in newest_first)
    proven = dict(last_proven or {})
    for session in reversed(newest_first):
        if session.proves_restore and session.ended_at is not None:
            proven[session.organization, session.type] = session.ended_at
    return ServerEvidence(
        server=server,
        sessions=newest_first,
        last_proven=proven,
        organizations=tuple(
            {*listed, *map(label_value, organizations), *(name for name, _ in proven)}
        ),
        organizations_listed=listed,
        **{
            "version": "8.2.0.5000",
            "api_version": "v8",
            "listed": len(newest_first),
            "oldest": newest_first[-1].creation_time if newest_first else None,
            **fields,
        },
    )


def report(
    *servers: ServerEvidence,
    failed: Sequence[FailedServer] = (),
    organizations: Sequence[str] = (),
    info_labels: Sequence[str] = (),
    since: datetime = SINCE,
) -> Report:
    """Return the report that was created at noon on what these servers show."""
    scope = Scope(
        since=since,
        until=NOON,
        organizations=tuple(organizations),
        info_labels=tuple(info_labels),
    )
    return summarize(scope, servers, failed)


def sample_report() -> Report:
    """Return the report on a server whose organizations restore more and less often."""
    random = Random(5)  # noqa: S311 - repeatable, nothing secret
    sessions = [
        session._replace(details=f"{random.choice((0, 0, 1, 3, 12, 40, 220))} items processed")
        for session in random_sessions(150, 3, seed=3, days=85)
        if session.stopped
    ]
    teams = ("northwind-traders.com", SessionType.VET)
    return report(
        evidence(
            [one for one in sessions if (one.organization, one.type) != teams]
            + [running(3_500, type=SessionType.VESP)],
            last_proven={
                teams: NOON - timedelta(days=131),
                ("adatum.onmicrosoft.com", SessionType.VEX): NOON - timedelta(days=214),
            },
            organizations=["wingtip-toys.com"],
            oldest=NOON - timedelta(days=402, hours=5),
            listed=1_184,
        )
    )


REFUSED = FailedServer(
    server="branch", reason="auth", message="the login is refused (HTTP 400, invalid_grant)"
)
