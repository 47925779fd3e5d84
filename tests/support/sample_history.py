"""Servers with a long, reproducible history of sessions."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from exporter.polling.blocks import SessionBlocks
from exporter.polling.counters import FinishedCounts
from exporter.polling.proven_restores import ProvenRestores
from exporter.polling.snapshot import Activity, RunningSession, ServerStatus, Snapshot
from exporter.vb365.records.restore_session import (
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
)
from support.sample_sessions import NOON

_ORGANIZATIONS = tuple(f"customer{number:02}.onmicrosoft.com" for number in range(20))
_ACCOUNTS = ("CONTOSO\\alice", "CONTOSO\\bob", "CONTOSO\\svc-restore")
_TYPES = (SessionType.VEX, SessionType.VEX, SessionType.VEOD, SessionType.VESP, SessionType.VET)
_RESULTS = (*(SessionResult.SUCCESS,) * 8, SessionResult.WARNING, SessionResult.FAILED)


class History:
    """Sessions of one server, one starting about every half minute, and their snapshot.

    Args:
        finished: number of finished sessions.
        running: number of running sessions.
    """

    def __init__(self, finished: int, running: int = 0, *, server: str = "hq") -> None:
        self._server = server
        self._random = random.Random(finished)  # noqa: S311 - reproducible, not secret
        self._blocks = SessionBlocks()
        self._ended = FinishedCounts(lambda: self._blocks)
        self._restores = ProvenRestores(lambda: self._blocks, have_extras=False)
        self.running = [
            self._session(NOON - timedelta(seconds=number)) for number in range(running)
        ]
        for number in reversed(range(finished)):
            self.finish_one(NOON - timedelta(seconds=30 * number))

    @property
    def finished(self) -> Iterable[RestoreSession]:
        """Finished sessions, oldest first."""
        return iter(self._blocks)

    def finish_one(self, created: datetime) -> None:
        """Add a finished session."""
        self._add(
            self._session(
                created,
                state=SessionState.STOPPED,
                result=self._random.choice(_RESULTS),
                end_time=created + timedelta(seconds=self._random.uniform(5, 5000)),
                details=f"{self._random.randrange(500)} items processed",
            )
        )

    def replace(self, session: RestoreSession, changed: RestoreSession) -> None:
        """Replace a finished session."""
        self._blocks.remove(session)
        self._ended.remove(session)
        self._restores.remove(session)
        self._add(changed)

    def snapshot(self) -> Snapshot:
        """Return the snapshot that a poll would publish now."""
        return Snapshot(
            server=self._server,
            status=ServerStatus(up=True, version="8.0.0.1", api_version="v8"),
            max_series=len(self._blocks) + len(self.running),
            running=tuple(
                RunningSession(session=session, confirmed_at=0.0, configured=False)
                for session in self.running
            ),
            finished=self._blocks.newest(),
            finished_with_series=self._blocks.newest(),
            finished_confirmed_at=0.0,
            list_confirmed_at=0.0,
            stopped=dict(self._ended.stopped),
            last_end=dict(self._ended.last_end),
            last_restored=dict(self._restores.ends),
            activity=Activity(organizations=_ORGANIZATIONS),
            sessions_known=len(self._blocks) + len(self.running),
        )

    def _add(self, session: RestoreSession) -> None:
        self._blocks.add(session)
        self._ended.add(session)
        self._restores.add(session)

    def _session(
        self,
        created: datetime,
        *,
        state: SessionState = SessionState.WORKING,
        result: SessionResult | None = None,
        end_time: datetime | None = None,
        details: str = "",
    ) -> RestoreSession:
        chosen = self._random
        return RestoreSession(
            id=str(UUID(int=chosen.getrandbits(128), version=4)),
            type=chosen.choice(_TYPES),
            state=state,
            creation_time=created + timedelta(microseconds=chosen.randrange(1_000_000)),
            end_time=end_time,
            result=result,
            organization=chosen.choice(_ORGANIZATIONS),
            name=f"Explorer session of {chosen.randrange(1_000_000)}",
            initiated_by=chosen.choice(_ACCOUNTS),
            details=details,
            client_host="srv01 (via: 10.0.0.1)",
        )
