"""The lists of the API: restore sessions page by page, and organizations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from exporter.text import format_instant
from exporter.vb365.errors import BadResponseError, NotFoundError, RecordsMovedError
from exporter.vb365.paging import iter_pages, reread_if_moved
from exporter.vb365.records.organization import Organization, parse_organization
from exporter.vb365.records.restore_session import Page, parse_page
from exporter.vb365.rest import RestApi

_MAX_ORGANIZATIONS = 10_000
_MAX_ORGANIZATION_PAGES = 500
"""A server may cap its pages at 30 organizations or fewer."""


def iter_session_pages(
    api: RestApi, *, created_since: datetime | None, page_size: int, max_pages: int
) -> Iterator[Page]:
    """Yield the pages that `Client.list_sessions` describes; more than `max_pages` count as endless paging."""

    def fetch(target: str) -> object:
        try:
            return api.get("list", target)
        except NotFoundError:
            api.versions.redetect()
            raise

    query = {}
    if created_since is not None:
        utc = created_since.astimezone(UTC)
        query["startTimeFrom"] = format_instant(utc, "microseconds")
    readable = unreadable = 0
    for results in iter_pages(
        fetch,
        base_url=api.base_url,
        path=f"{api.versions.current()}/RestoreSessions",
        query=query,
        page_size=page_size,
        operation="list",
        max_pages=max_pages,
    ):
        page = parse_page(results)
        readable += len(page.sessions)
        unreadable += len(page.rejections)
        yield page
    if unreadable and not readable:
        # An unreadable record does not fail a list, but a list without a readable one confirms nothing.
        raise _unreadable(unreadable, "list")


class ListedIds:
    """The ids on the pages of a list of sessions, and those on two pages.

    The first page may be repeated at the end of a list.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._repeated: set[str] = set()
        self._first_page: set[str] = set()

    def add(self, page: Page) -> None:
        """Add the ids of a page, those of rejected records included."""
        ids = {one.id for one in page.sessions} | {one.session_id for one in page.rejections}
        ids.discard("")
        repeated = ids & self.ids
        are_known = [session.id in repeated for session in page.sessions]
        # The first page, if it is repeated, has new sessions, and then those that it had before.
        if not repeated <= self._first_page or are_known != sorted(are_known):
            self._repeated |= repeated
        self.ids |= ids
        self._first_page = self._first_page or ids

    def check(self, known_repeated: set[str]) -> bool:
        """Check that no session has moved between the pages; return whether those on two pages are known.

        Args:
            known_repeated: the ids that the previous list showed on two pages; a server may always list a session twice.
                Those of this list replace them.

        Raises:
            RecordsMovedError: other sessions are on two pages, so that some may be missing.
        """
        has_moved = not self._repeated <= known_repeated
        known_repeated.clear()
        known_repeated |= self._repeated
        if has_moved:
            raise RecordsMovedError("sessions are on two pages of the list", operation="list")
        return bool(known_repeated)


def read_organizations(api: RestApi, *, until: float) -> tuple[Organization, ...]:
    """Return the organizations that `Client.organizations` describes; the response is an array until v7."""

    def fetch(target: str) -> object:
        document = api.get("organizations", target, until=until)
        if isinstance(document, list):
            return {"results": document, "limit": len(document) + 1}  # the only page
        return document

    known_twice: set[Organization] = set()

    def read(page_size: int) -> tuple[Organization, ...]:
        pages = iter_pages(
            fetch,
            base_url=api.base_url,
            path=f"{api.versions.current()}/Organizations",
            query={"extendedView": "false"},
            page_size=page_size,
            operation="organizations",
            max_pages=_MAX_ORGANIZATION_PAGES,
        )
        organizations, twice = _distinct_organizations(pages)
        if twice - known_twice:  # those that the next attempt finds twice, too, always are
            known_twice.update(twice)
            raise RecordsMovedError("organizations are on two pages", operation="organizations")
        return organizations

    return reread_if_moved(read)


def _distinct_organizations(
    pages: Iterable[list[object]],
) -> tuple[tuple[Organization, ...], set[Organization]]:
    """Return the organizations of a list, and which of them are on two of its pages.

    Raises:
        BadResponseError: there are records, but none that is readable.
    """
    found: dict[Organization, None] = {}
    twice: set[Organization] = set()
    unreadable = 0
    for results in pages:
        parsed = [parse_organization(record) for record in results]
        readable = dict.fromkeys(one for one in parsed if one is not None)
        unreadable += parsed.count(None)
        twice |= found.keys() & readable
        found |= readable
        if len(found) >= _MAX_ORGANIZATIONS:
            break
    if unreadable and not found:
        raise _unreadable(unreadable, "organizations")
    return tuple(found)[:_MAX_ORGANIZATIONS], twice


def _unreadable(records: int, operation: str) -> BadResponseError:
    return BadResponseError(f"none of the {records} records can be read", operation=operation)
