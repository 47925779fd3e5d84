"""Reads the full list of a server once, for the commands that show it, within bounds of number, time and memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from exporter.polling.text_budget import TextBudget
from exporter.vb365.client import Client
from exporter.vb365.errors import BadResponseError
from exporter.vb365.lists import ListedIds
from exporter.vb365.paging import MAX_LIST_SECONDS, check_list_time, reread_if_moved
from exporter.vb365.records.restore_session import Page, RestoreSession

# About 1 GB of memory each.
_MAX_SESSIONS = 1_000_000
_MAX_SESSIONS_OF_TEXTS = 500_000


class FullList:
    """A server's full list, as far as it has been read. Sessions that a page repeats count once.

    Args:
        keep: returns what is kept of a session, or None.
    """

    def __init__(
        self, keep: Callable[[RestoreSession], RestoreSession | None] = lambda session: session
    ) -> None:
        self._keep = keep
        self._found: dict[str, RestoreSession | None] = {}
        self.rejected: Counter[str] = Counter()
        """The number of rejected records by reason."""
        self.texts = TextBudget(_MAX_SESSIONS_OF_TEXTS)
        """The texts that are kept."""

    @property
    def sessions(self) -> list[RestoreSession]:
        """The sessions that are kept, in no particular order."""
        return [session for session in self._found.values() if session is not None]

    @property
    def listed(self) -> int:
        """The number of all readable sessions."""
        return len(self._found)

    def add(self, page: Page) -> None:
        """Add a page.

        Raises:
            BadResponseError: the list has too many sessions or texts.
        """
        for session in page.sessions:
            kept = self._found[session.id] = self._keep(session)
            if kept is not None:
                self.texts.add(kept)
        self.rejected.update(rejection.reason for rejection in page.rejections)
        if self.listed + self.rejected.total() > _MAX_SESSIONS:
            raise BadResponseError(f"more than {_MAX_SESSIONS} sessions", operation="list")
        if self.texts.is_exceeded:
            raise BadResponseError("the texts of its sessions are too long", operation="list")


AnyList = TypeVar("AnyList", bound=FullList)


def read_full_list(
    client: Client,
    new_list: Callable[[], AnyList],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> AnyList:
    """Read a server's full list; read it again if sessions moved between its pages, or if it is empty.

    A server that is starting may list nothing at first, so an empty list is believed only if a second one is empty, too.

    Args:
        client: the client of the server's API.
        new_list: returns an empty list, for each attempt.
        clock: the monotonic clock that limits the time.

    Raises:
        BadResponseError: the list is too long, endless or too slow.
        Vb365Error: the list could not be read completely.
    """
    end_at = clock() + MAX_LIST_SECONDS

    def read(page_size: int) -> AnyList:
        listed, ids = new_list(), ListedIds()
        for page in client.list_sessions(created_since=None, page_size=page_size):
            check_list_time(clock(), end_at)
            listed.add(page)
            ids.add(page.ids)
        # A poll tolerates ids that every list repeats. A command does not: other sessions may be missing.
        ids.check(set(), "list")
        return listed

    listed = reread_if_moved(read)
    return listed if listed.listed or listed.rejected else reread_if_moved(read)
