"""The configured ids of one server, and which of them the server does not know."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from exporter.polling.clock import Moment
from exporter.polling.snapshot import ConfiguredId
from exporter.polling.store import SessionStore


class ConfiguredIds:
    """Keeps when the server last answered that a configured session does not exist.

    Args:
        ids: the configured ids.
        store: the stored sessions.
    """

    def __init__(self, ids: tuple[str, ...], store: SessionStore) -> None:
        self._ids = dict.fromkeys(ids)
        self._store = store
        self._not_found_at: dict[str, float] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._ids

    def mark_found(self, session_ids: set[str]) -> None:
        """Record that the server has these sessions."""
        for session_id in self._not_found_at.keys() & session_ids:
            del self._not_found_at[session_id]

    def mark_not_found(self, session_id: str, moment: Moment) -> None:
        """Record that the server does not have a session, if it is configured."""
        if session_id in self._ids:
            self._not_found_at[session_id] = moment.monotonic

    def is_not_found(self, session_id: str) -> bool:
        """Whether the server does not have a session, as far as is known."""
        return session_id in self._not_found_at

    def unconfirmed(self, since: float) -> Iterator[str]:
        """Return the ids to request: those not stored, and not reported as missing since `since` (monotonic seconds)."""
        return (
            session_id
            for session_id in self._ids
            if self._store.find(session_id) is None
            and self._not_found_at.get(session_id, -inf) < since
        )

    def states(self, finished_confirmed_at: float) -> tuple[ConfiguredId, ...]:
        """Return what is known of each id; those without any response yet are left out.

        Args:
            finished_confirmed_at: when the finished sessions were last confirmed, in monotonic seconds.
        """
        states = []
        for session_id in self._ids:
            running = self._store.running.get(session_id)
            if running is not None:
                confirmed_at = running.confirmed_at
            elif session_id in self._store.finished:
                confirmed_at = finished_confirmed_at
            elif session_id in self._not_found_at:
                confirmed_at = self._not_found_at[session_id]
            else:
                continue
            states.append(
                ConfiguredId(
                    session_id=session_id,
                    found=session_id not in self._not_found_at,
                    confirmed_at=confirmed_at,
                )
            )
        return tuple(states)
