"""Reads the full list of a server once, for the commands that show it, within bounds of number, time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from exporter.polling.text_budget import TextBudget
from exporter.vb365.client import Client
from exporter.vb365.errors import BadResponseError
from exporter.vb365.paging import MAX_LIST_SECONDS, check_list_time, reread_if_moved
from exporter.vb365.records.restore_session import Page

__all__ = ["Listing", "new_text_budget", "read_full_list"]

# About 1 GB of memory each.
_MAX_SESSIONS = 1_000_000
_MAX_SESSIONS_OF_TEXTS = 500_000


class Listing(Protocol):
    """What is kept of a list."""

    texts: TextBudget
    """The texts that are kept."""

    def add(self, page: Page) -> None:
        """Add a page. Pages shift when sessions start, so a session may appear twice."""

    @property
    def records(self) -> int:
        """Number of records so far, readable or not."""


AnyListing = TypeVar("AnyListing", bound=Listing)


def new_text_budget() -> TextBudget:
    """Return a budget for the texts of a list."""
    return TextBudget(_MAX_SESSIONS_OF_TEXTS)


def read_full_list(
    client: Client,
    new_listing: Callable[[], AnyListing],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> AnyListing:
    """Read a server's full list; read it again if sessions moved between its pages.

    Args:
        client: the client of the server's API.
        new_listing: returns an empty listing, for each attempt.
        clock: the monotonic clock that limits the time.

    Raises:
        BadResponseError: the list is too long, endless or too slow.
        Vb365Error: the list could not be read completely.
    """
    end_at = clock() + MAX_LIST_SECONDS

    def read(page_size: int) -> AnyListing:
        listing = new_listing()
        for page in client.list_sessions(created_since=None, page_size=page_size):
            check_list_time(clock(), end_at)
            listing.add(page)
            if listing.records > _MAX_SESSIONS:
                raise BadResponseError(f"more than {_MAX_SESSIONS} sessions", operation="list")
            if listing.texts.is_exceeded:
                raise BadResponseError("the texts of its sessions are too long", operation="list")
        return listing

    return reread_if_moved(read)
