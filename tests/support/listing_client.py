"""A client of a server whose list is made of given pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import cast

from exporter.vb365.client import Client
from exporter.vb365.errors import Vb365Error
from exporter.vb365.records.restore_session import Page, RestoreSession
from support.sample_sessions import running, session_id


class ListingClient:
    """Serves one list after another: its pages, or an error in their place. The last list is repeated.

    Args:
        lists: what is served.
    """

    def __init__(self, *lists: Iterable[Page | Vb365Error]) -> None:
        self._lists = [*lists]
        self.requests: list[tuple[datetime | None, int]] = []
        """The `created_since` and the page size of each request."""

    @property
    def client(self) -> Client:
        """This object as a client; it can only list sessions."""
        return cast("Client", self)

    def list_sessions(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        self.requests.append((created_since, page_size))
        pages = self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]
        for page in pages:
            if isinstance(page, Vb365Error):
                raise page
            yield page


def page_of(*sessions: RestoreSession) -> Page:
    """Return a page without rejected records."""
    return Page(sessions=sessions, rejections=())


def long_texts() -> Iterator[Page]:
    """Return pages of a thousand sessions with 2 MB of texts each, which all share."""
    session = running(1, name="x" * 1_000_000, reason="x" * 1_000_000)
    return (page_of(session._replace(id=session_id(number))) for number in range(1000))
