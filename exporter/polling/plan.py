"""Lists to ask a server for, and when one is cheaper for it than asking for sessions one by one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["PAGE_COST_IN_GETS", "PAGE_SIZE", "ListRequest", "cheaper_list"]

PAGE_SIZE = 1000
"""How many sessions a page of the list is asked to hold: about 0.7 MB."""

PAGE_COST_IN_GETS = 25
"""A page of the list is taken to cost the server as much as this many sessions asked for by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """A list to ask for."""

    created_since: datetime | None
    """Only sessions created after this; None walks over everything."""
    most_pages: int | None = None
    """Stop after so many pages, or when everything wanted was seen; None goes on to the end."""

    @property
    def is_walk(self) -> bool:
        """True when its end has seen every session there is."""
        return self.created_since is None and self.most_pages is None


def cheaper_list(
    creations: Iterable[datetime], never_seen: int, created_since: Callable[[datetime], int]
) -> ListRequest | None:
    """The list that saves the server most; None when asking one by one is as cheap.

    Args:
        creations: when the sessions that are wanted were created.
        never_seen: how many more are wanted of which that is not known.
        created_since: how many sessions were created at a moment or later.
    """
    if never_seen >= 2 * PAGE_COST_IN_GETS:
        return ListRequest(created_since=None, most_pages=never_seen // PAGE_COST_IN_GETS)
    best: ListRequest | None = None
    most_saved = PAGE_COST_IN_GETS
    for confirmed, creation in enumerate(sorted(creations, reverse=True), start=1):
        pages = 1 + created_since(creation) // PAGE_SIZE
        if confirmed - pages * PAGE_COST_IN_GETS > most_saved:
            most_saved = confirmed - pages * PAGE_COST_IN_GETS
            best = ListRequest(
                created_since=creation - timedelta(seconds=1),
                most_pages=confirmed // PAGE_COST_IN_GETS,
            )
    return best
