"""What happens to sessions of more organizations than are kept."""

from __future__ import annotations

from exporter.config import SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.counters import ActivityCounters
from exporter.polling.resync import Resync
from exporter.polling.store import SessionStore
from exporter.vb365.records.restore_session import RestoreSession


class OrganizationLimit:
    """Leaves sessions out whose organization does not fit, after those without a stored session have made room.

    Args:
        activity: the organizations and their counters.
        store: the stored sessions.
        resync: counts the sessions that are left out.
        settings: the configured ids, whose sessions are never left out.
    """

    def __init__(
        self,
        activity: ActivityCounters,
        store: SessionStore,
        resync: Resync,
        settings: SessionsConfig,
    ) -> None:
        self._activity = activity
        self._organizations = activity.organizations
        self._store = store
        self._resync = resync
        self._configured = frozenset(settings.ids)
        self._made_room = False  # in this poll

    def begin_poll(self) -> None:
        """Start a poll, in which organizations make room at most once."""
        self._made_room = False

    def admit(self, session: RestoreSession, moment: Moment) -> RestoreSession | None:
        """Record the organization of a session. Return the session, or None if it is left out.

        If the new organization of a stored session does not fit, the session keeps its last one.
        """
        organizations, seen_at = self._organizations, moment.monotonic
        # Once there had to be made room, a session past its lookback takes none.
        is_open = not self._made_room or session.organization in organizations
        if is_open and organizations.add(session.organization, seen_at):
            return session
        known = self._store.find(session.id)
        is_required = known is not None or session.id in self._configured
        is_current = not session.stopped or self._store.lookback.includes(session, moment)
        if not is_required and not is_current:
            return None
        self._make_room()
        if organizations.add(session.organization, seen_at, required=is_required):
            return session
        if is_required:
            return session if known is None else session._replace(organization=known.organization)
        self._resync.add_listed(session.id, was_stored=False)
        self._resync.count_not_kept(session.id, observed_id=session.id)
        return None

    def end_full_list(self) -> None:
        """If there have been too many organizations, forget those without a stored session."""
        if self._organizations.is_full:
            self._make_room()

    def _make_room(self) -> None:
        if not self._made_room:
            self._made_room = True
            self._activity.make_room(self._store.organizations())
