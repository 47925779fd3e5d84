"""Status pages of sample servers, built by the real code from the ledger to the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from uuid import UUID

from exporter.config import Config, parse_config
from exporter.polling.clock import Moment
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.service.overview import Overview
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionType
from exporter.web.app import WebApp, WebBackend
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, bind_listeners
from exporter.web.server import WebServer
from exporter.web.status.page import StatusPage
from support.ledger_harness import LedgerHarness
from support.sample_sessions import NOON, finished, running

UP = ServerStatus(
    up=True,
    up_since=-7_500.0,
    version="8.2.0.5000",
    api_version="v8",
    certificate_not_after=NOON + timedelta(days=700),
    last_poll_timestamp=NOON.timestamp() + 48,
    last_success_timestamp=NOON.timestamp() + 48,
)
DOWN = replace(
    UP,
    up=False,
    up_since=None,
    failing_since=-30.0,
    failure_reason="auth",
    failure_message="token: the login is refused (HTTP 400, invalid_grant)",
    last_success_timestamp=NOON.timestamp() - 90,
)
NEVER_REACHED = ServerStatus(
    up=False,
    failing_since=-2_700.0,
    failure_reason="connect",
    failure_message="list: the connection to vb365.example.com:4443 failed: Connection refused",
    last_poll_timestamp=NOON.timestamp() + 40,
)

_ORGANIZATIONS = (
    "contoso.onmicrosoft.com",
    "fabrikam.onmicrosoft.com",
    "northwind-traders.com",
    "adatum.onmicrosoft.com",
    "wingtip-toys.com",
    "tailspin.onmicrosoft.com",
)
_TYPES = tuple(one for one in SessionType if one is not SessionType.UNKNOWN)
_RESULTS = (
    *(SessionResult.SUCCESS,) * 30,
    *(SessionResult.WARNING,) * 3,
    SessionResult.FAILED,
)


def config_for(*names: str, info_labels: Sequence[str] = ()) -> Config:
    """Return a configuration with these servers."""
    servers = "".join(
        f"  - {{name: {name}, url: 'https://{name}:4443', auth: {{username: u, password: p}}}}\n"
        for name in names
    )
    text = f"info_labels: [{', '.join(info_labels)}]\nservers:\n{servers}"
    return parse_config(text, directory=Path.cwd())


def random_sessions(
    count: int, organizations: int = 4, *, seed: int = 1, days: float = 2.0
) -> list[RestoreSession]:
    """Return `count` sessions of the last days; the first of every dozen is still running."""
    random = Random(seed)  # noqa: S311 - repeatable, nothing secret
    sessions = []
    for number in range(1, count + 1):
        tenant = random.randrange(organizations)
        organization = (
            _ORGANIZATIONS[tenant]
            if organizations <= len(_ORGANIZATIONS)
            else f"tenant-{tenant:02}.onmicrosoft.com"
        )
        opened = NOON - timedelta(days=days) * random.random() ** 1.5
        session = (running if number % 12 == 1 else finished)(
            number,
            id=str(UUID(int=random.getrandbits(128), version=4)),
            creation_time=opened,
            organization=organization,
            type=random.choice(_TYPES),
        )
        if session.stopped:
            took = timedelta(minutes=0.2 + random.expovariate(1 / 25))
            session = session._replace(
                result=random.choice(_RESULTS), end_time=min(NOON, opened + took)
            )
        sessions.append(session)
    return sessions


def forgotten_session() -> RestoreSession:
    """Return a session left open three weeks ago."""
    return running(60_000, creation_time=NOON - timedelta(days=22, hours=3))


def polled_snapshot(
    name: str,
    sessions: Sequence[RestoreSession],
    status: ServerStatus = UP,
    *,
    polled_seconds_after_noon: float = 48.0,
) -> Snapshot:
    """Return the snapshot of a server after a successful poll."""
    harness = LedgerHarness()
    harness.hold(*sessions)
    snapshot = harness.poll(after_seconds=polled_seconds_after_noon)
    return replace(snapshot, server=name, status=status)


def silent_snapshot(name: str, status: ServerStatus = NEVER_REACHED) -> Snapshot:
    """Return the snapshot of a server that has never responded."""
    return Snapshot(server=name, status=status, stale_after_seconds=180.0)


def page_for(
    *snapshots: Snapshot,
    never_polled: Sequence[str] = (),
    info_labels: Sequence[str] = (),
    seconds_after_noon: float = 60.0,
) -> StatusPage:
    """Return the page for these servers and for those never polled."""
    names = (*(one.server for one in snapshots), *never_polled)
    return Overview().page(
        config_for(*names, info_labels=info_labels),
        [snapshot.without_stale(seconds_after_noon) for snapshot in snapshots],
        Moment(monotonic=seconds_after_noon, wall=NOON + timedelta(seconds=seconds_after_noon)),
    )


def trouble_page() -> StatusPage:
    """Return a page of four servers: one up, one that now refuses the login, one never reached, one not yet polled."""
    return page_for(
        polled_snapshot("hq", [*random_sessions(60), forgotten_session()]),
        polled_snapshot(
            "customers", random_sessions(40, 6, seed=2), DOWN, polled_seconds_after_noon=-90
        ),
        silent_snapshot("branch-office"),
        never_polled=["lab"],
    )


@contextmanager
def serve_page(backend: WebBackend) -> Iterator[str]:
    """Serve a backend; yield the URL of its status page."""
    app = WebApp(backend)
    web = WebServer(ConnectionManager(app), bind_listeners([Address("127.0.0.1", 0)]))
    web.start()
    try:
        yield f"http://{web.addresses[0]}/"
    finally:
        web.close(2.0)
