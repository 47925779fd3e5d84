"""The organizations of one server that are known: those that sessions name, and those that the server lists."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from exporter.config import SessionsConfig
from exporter.vb365.records.organization import Organization, without_sessions

MAX_ORGANIZATIONS = 2000
"""Maximum number of organizations, if `max_sessions` is not lower. Each has 32 series, and 36 more with all extras."""


class KnownOrganizations:
    """The known organizations, up to a maximum.

    Args:
        settings: `max_sessions` also limits the organizations.
    """

    def __init__(self, settings: SessionsConfig) -> None:
        self._max = min(settings.max_sessions, MAX_ORGANIZATIONS)
        self._seen_at: dict[str, float] = {}  # the monotonic time when sessions last named each
        self._listed: tuple[Organization, ...] = ()
        self._listed_total = 0  # those beyond the maximum included
        self.is_full = False
        """Whether there have been too many since `make_room` was last called."""
        self.left_out = 0
        """How many organizations of the newest list are too many to be known."""
        self._doubts_list = False

    def names(self) -> tuple[str, ...]:
        """Return those that sessions name, then as many other listed ones as fit; upper and lower case are equal."""
        return tuple(islice(self._known(self._listed), self._room))

    @property
    def _room(self) -> int:
        return max(self._max, len(self._seen_at))

    def _known(self, listed: Collection[Organization]) -> Collection[str]:
        named = {organization.casefold() for organization in self._seen_at}
        others = (one.label for one in without_sessions(listed, named))
        return dict.fromkeys((*self._seen_at, *others))

    def __contains__(self, organization: str) -> bool:
        """Whether sessions name this organization."""
        return organization in self._seen_at

    def add(self, organization: str, seen_at: float, *, required: bool = False) -> bool:
        """Record that a session names an organization.

        Args:
            organization: its name.
            seen_at: now, in monotonic seconds.
            required: whether there may be twice as many, until `make_room` is called.

        Returns:
            Whether it is recorded; False if there are too many.
        """
        if organization not in self._seen_at and len(self._seen_at) >= self._max:
            self.is_full = True
            if not required or len(self._seen_at) >= 2 * self._max:
                return False
        self._seen_at[organization] = seen_at
        return True

    def forget(self, not_seen_since: float, *, keep: Collection[str]) -> None:
        """Forget the organizations that sessions no longer name.

        Args:
            not_seen_since: forget those that were last seen before this time, in monotonic seconds.
            keep: those not to forget.
        """
        self._seen_at = {
            organization: seen_at
            for organization, seen_at in self._seen_at.items()
            if seen_at >= not_seen_since or organization in keep
        }

    def make_room(self, keep: Collection[str]) -> None:
        """Forget all organizations but these."""
        self.is_full = False
        self._seen_at = {one: seen_at for one, seen_at in self._seen_at.items() if one in keep}

    def believes(self, listed: Collection[Organization]) -> bool:
        """Whether to record a list of organizations; as with sessions, one that lacks more than half must be repeated."""
        lacks_most = 2 * len(listed) < self._listed_total
        self._doubts_list = lacks_most and not self._doubts_list
        return not self._doubts_list

    def set_listed(self, listed: Collection[Organization]) -> bool:
        """Record the organizations that the server lists now, up to the maximum; return whether they have changed."""
        self._listed_total = len(listed)
        self.left_out = max(0, len(self._known(listed)) - self._room)
        before, self._listed = self._listed, tuple(islice(listed, self._max))
        return before != self._listed
