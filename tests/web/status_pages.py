"""Values of the status page that tests vary."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from web.support import NOON

from exporter.web.status.page import ServerCard, SessionRow, StatusPage

RUNNING = SessionRow(
    server="hq",
    id="635b22cf-9cdc-4004-9160-9b90f90f1bbf",
    organization="contoso.onmicrosoft.com",
    type="Vex",
    state="Working",
    result=None,
    created=NOON - timedelta(hours=2),
    ended=None,
    duration_seconds=7_200.0,
)
FINISHED = replace(
    RUNNING,
    id="0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0001",
    type="Vet",
    state="Stopped",
    result="Success",
    created=NOON - timedelta(minutes=12),
    ended=NOON - timedelta(minutes=10, seconds=30),
    duration_seconds=90.0,
)
HQ = ServerCard(
    name="hq",
    up=True,
    since=NOON - timedelta(hours=5),
    failure_reason=None,
    failure_message=None,
    version="8.2.0.5000",
    api_version="v8",
    tls_verified=True,
    certificate_not_after=NOON + timedelta(days=400),
    last_poll=NOON - timedelta(seconds=12),
    last_success=NOON - timedelta(seconds=12),
    data_age_seconds=12.5,
    poll_interval_seconds=60.0,
    stale_after_seconds=180.0,
    sessions_known=2,
)
DOWN = replace(
    HQ,
    name="lab",
    up=False,
    since=NOON - timedelta(minutes=46),
    failure_reason="connect",
    failure_message="list: the connection to lab:4443 failed: Connection refused",
    last_success=NOON - timedelta(minutes=46),
    data_age_seconds=None,
)
UNPOLLED = replace(
    HQ,
    name="new",
    up=None,
    since=None,
    version=None,
    api_version=None,
    certificate_not_after=None,
    last_poll=None,
    last_success=None,
    data_age_seconds=None,
    sessions_known=0,
)
FAILED = replace(
    FINISHED,
    id="0f9c2c5e-2f3b-4a44-a7d5-6f1f9f1c0002",
    organization="fabrikam.example",
    result="Failed",
    created=NOON - timedelta(hours=3, minutes=2),
    ended=NOON - timedelta(hours=3),
    duration_seconds=120.0,
    items_processed=41,
)
LEFT_OPEN = replace(
    RUNNING, created=NOON - timedelta(hours=51), duration_seconds=183_600.0, left_open=True
)


def page(*servers: ServerCard, **fields: Any) -> StatusPage:
    """A page of these servers, without sessions unless the test gives them."""
    return replace(StatusPage(version="1.2.3", generated=NOON, servers=servers), **fields)


def ended(minutes_ago: float, took_minutes: float = 1.0, **fields: Any) -> SessionRow:
    end = NOON - timedelta(minutes=minutes_ago)
    started = end - timedelta(minutes=took_minutes)
    return replace(
        FINISHED, created=started, ended=end, duration_seconds=took_minutes * 60, **fields
    )


def opened(minutes_ago: float, **fields: Any) -> SessionRow:
    seconds = minutes_ago * 60
    started = NOON - timedelta(seconds=seconds)
    return replace(RUNNING, created=started, duration_seconds=seconds, **fields)
