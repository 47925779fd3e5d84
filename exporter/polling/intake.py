"""Takes sessions from responses into the ledger, dated by the server's own time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from exporter.polling.anomalies import Anomalies
from exporter.polling.clock import Clock, Moment
from exporter.polling.interfaces import Api
from exporter.polling.plan import is_ahead
from exporter.polling.server_state import ServerState
from exporter.vb365.records.restore_session import RestoreSession

# No time zone explains a larger difference.
_MAX_CLOCK_DIFFERENCE = timedelta(days=1)


class Intake:
    """Takes sessions into a ledger, and records their anomalies.

    Args:
        api: the server's API, which knows the server's time.
        state: its ledger takes the sessions.
        clock: the process's clocks.
        anomalies: counts and logs anomalies.
    """

    def __init__(self, api: Api, state: ServerState, clock: Clock, anomalies: Anomalies) -> None:
        self._api = api
        self._state = state
        self._clock = clock
        self._anomalies = anomalies

    def now(self) -> Moment:
        """Return the present moment, with the server's own time if the server sends it, or sent it before a reload.

        What to request and keep thus follows the clock that dates the sessions, not this machine's, which may have been
        wrong at startup.
        """
        moment = self._clock.now()
        server_time = self._api.server_time
        if server_time is None:
            return replace(moment, wall=moment.wall + self._state.clock_ahead)
        self._state.clock_ahead = server_time - moment.wall
        return replace(moment, wall=server_time)

    def check_times(self) -> None:
        """Log once if the server treats times in a way that may hide sessions.

        If its clock is ahead of this machine's, perhaps only in the `Date` that a proxy sends, sessions seem past their
        lookback.
        """
        server_ahead = self.now().wall - self._clock.now().wall
        if abs(server_ahead) > _MAX_CLOCK_DIFFERENCE:
            self._anomalies.clocks_differ(server_ahead)
        if self._state.ledger.filter_is_late:
            self._anomalies.filter_is_late()

    def accept(self, session: RestoreSession, moment: Moment | None = None) -> None:
        """Take a session that was received at `moment`, by default now."""
        moment = moment or self.now()
        if is_ahead(session.creation_time, moment.wall):
            self._anomalies.created_ahead(session, moment.wall)
        if session.unknown_values:
            self._anomalies.unknown_values(session.unknown_values, session.id)
        self._state.ledger.observe(session, moment)
