"""Sample restore sessions that differ only in the fields a test is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from exporter.vb365.records.restore_session import (
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def session_id(number: int) -> str:
    """Return a session id that shows its number."""
    return str(UUID(int=number))


def running(number: int = 1, **fields: Any) -> RestoreSession:
    """Return a running session that was opened `number` minutes before noon."""
    session = RestoreSession(
        id=session_id(number),
        type=SessionType.VEX,
        state=SessionState.WORKING,
        creation_time=NOON - timedelta(minutes=number),
        organization="contoso.onmicrosoft.com",
        name=f"Exchange restore {number}",
        initiated_by="CONTOSO\\operator",
        client_host="srv01 (via: 10.0.0.1)",
    )
    return session._replace(**fields)


def finished(number: int = 1, **fields: Any) -> RestoreSession:
    """Return a session opened `number` minutes before noon that succeeded 30 seconds later."""
    session = running(number)
    return session._replace(
        **{
            "state": SessionState.STOPPED,
            "result": SessionResult.SUCCESS,
            "end_time": session.creation_time + timedelta(seconds=30),
            "details": f"{number} items processed",
            **fields,
        },
    )
