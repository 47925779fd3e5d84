"""A ledger with a clock that only tests advance, and a simulated server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from exporter.config import Extra, SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.ledger import Ledger
from exporter.polling.plan import ListRequest
from exporter.polling.resync import ListLoss
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import NOON

DAY_SECONDS = 86_400.0


def sessions_config(
    ids: Iterable[str] = (),
    *,
    discover: bool = True,
    lookback: float = 7 * DAY_SECONDS,
    max_series: int = 1000,
    max_sessions: int = 200_000,
    extras: Iterable[Extra] = (),
) -> SessionsConfig:
    """Return settings that follow everything, but for what a test changes."""
    return SessionsConfig(
        ids=tuple(ids),
        discover=discover,
        lookback=lookback,
        max_series=max_series,
        max_sessions=max_sessions,
        extras=tuple(extras),
    )


class LedgerHarness:
    """Polls a simulated server into a real ledger.

    Attributes:
        server: what its API would list.
        hidden_by_id: ids for which it answers 404.
        hidden_in_lists: ids that its lists do not show.
        fetched: the ids fetched in the last poll.
        pages: the sessions listed in the last poll.
        losses: what the ends of lists returned.
        disbelieved: the ids of the last poll whose 404 was not believed.
        server_ahead_seconds: by how much the server's clock is ahead.
        clock_is_confirmed: whether this machine's clock shows the same time.
    """

    def __init__(
        self, settings: SessionsConfig | None = None, stale_after_seconds: float = 180.0
    ) -> None:
        self.settings = settings or sessions_config()
        self.ledger = Ledger("hq", self.settings, stale_after_seconds)
        self.server: dict[str, RestoreSession] = {}
        self.seconds = 0.0
        self.fetched: list[str] = []
        self.pages: list[RestoreSession] = []
        self.losses: list[ListLoss | None] = []
        self.hidden_by_id: set[str] = set()
        self.hidden_in_lists: set[str] = set()
        self.disbelieved: list[str] = []
        self.server_ahead_seconds = 0.0
        self.clock_is_confirmed = False

    @property
    def now(self) -> Moment:
        wall = NOON + timedelta(seconds=self.seconds + self.server_ahead_seconds)
        return Moment(monotonic=self.seconds, wall=wall, is_confirmed=self.clock_is_confirmed)

    def hold(self, *sessions: RestoreSession) -> None:
        """Add these sessions to the server, or change them there."""
        self.server.update({session.id: session for session in sessions})

    def poll(self, after_seconds: float = 60.0) -> Snapshot:
        """Make one poll in which every request succeeds."""
        self.seconds += after_seconds
        ledger = self.ledger
        ledger.begin_poll(self.now)
        self.pages = []
        requests = ledger.due_lists(self.now)
        for request in requests:
            self._list(request)
        if not requests:
            ledger.confirm_finished(self.now)
        self.fetched = list(ledger.unconfirmed())
        not_found = []
        for session_id in self.fetched:
            if session_id in self.server and session_id not in self.hidden_by_id:
                ledger.observe([self.server[session_id]], self.now)
            else:
                not_found.append(session_id)
        verifying = ledger.resync.verifying_list(not_found)
        if verifying is not None:
            self._list(verifying)
        self.disbelieved = [one for one in not_found if not ledger.mark_not_found(one, self.now)]
        ledger.end_poll(self.now, succeeded=not self.disbelieved)
        return self.snapshot()

    def _list(self, request: ListRequest) -> None:
        self.ledger.begin_list(request)
        listed = 0
        newest_first = sorted(self.server.values(), key=lambda one: one.creation_time, reverse=True)
        for session in newest_first:
            if session.id in self.hidden_in_lists:
                continue
            if request.created_since is None or session.creation_time > request.created_since:
                self.pages.append(session)
                listed += 1
                self.ledger.observe([session], self.now)
        self.losses.append(self.ledger.end_list(request, self.now))
        if request.is_full:
            self.ledger.sessions_listed = listed

    def snapshot(self) -> Snapshot:
        return self.ledger.snapshot(ServerStatus(up=True))


def shown_ids(snapshot: Snapshot) -> list[str]:
    """Return the sessions that have series, in the order they are served."""
    return [one.session.id for one in snapshot.running_with_series] + [
        session.id for block in snapshot.finished_with_series for session in block.sessions
    ]
