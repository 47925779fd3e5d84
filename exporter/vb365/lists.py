"""The lists of the API: restore sessions page by page, and organizations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime

from exporter.text import format_instant
from exporter.vb365.errors import BadResponseError, NotFoundError, RecordsMovedError
from exporter.vb365.paging import iter_pages, reread_if_moved
from exporter.vb365.records.organization import (
    Organization,
    OrganizationRejection,
    parse_organization,
)
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
    if unreadable > 1 and not readable:
        # One unreadable record does not fail a list, but one with several and no other confirms nothing.
        raise _unreadable(unreadable, "list")


class ListedIds:
    """The ids on the pages of a list, and those on two pages: a record that moved, so that another may be on none."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._repeated: set[str] = set()

    def add(self, ids: Collection[str]) -> None:
        """Add the ids of a page."""
        self._repeated |= self.ids.intersection(ids)
        self.ids.update(ids)

    def check(self, known_repeated: set[str], operation: str) -> bool:
        """Check that no record has moved between the pages; return whether some are on two pages of every list.

        Args:
            known_repeated: the ids that the previous list showed on two pages; a server may always list a record twice.
                Those of this list replace them.
            operation: named in the error.

        Raises:
            RecordsMovedError: others are on two pages.
        """
        has_moved = not self._repeated <= known_repeated
        known_repeated.clear()
        known_repeated |= self._repeated
        if has_moved:
            raise RecordsMovedError("records are on two pages of the list", operation=operation)
        return bool(known_repeated)


def read_organizations(
    api: RestApi, *, until: float, on_rejected: Callable[[OrganizationRejection], None]
) -> tuple[Organization, ...]:
    """Return the organizations that `Client.organizations` describes; the response is an array until v7."""

    def fetch(target: str) -> object:
        document = api.get("organizations", target, until=until)
        if isinstance(document, list):
            return {"results": document, "limit": len(document) + 1}  # the only page
        return document

    repeated: set[str] = set()

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
        listed = ListedIds()
        organizations = _distinct_organizations(pages, listed, on_rejected)
        listed.check(repeated, "organizations")
        return organizations

    return reread_if_moved(read)


def _distinct_organizations(
    pages: Iterable[list[object]],
    listed: ListedIds,
    on_rejected: Callable[[OrganizationRejection], None],
) -> tuple[Organization, ...]:
    """Return the organizations of a list; add their ids, or their names if they have none, to `listed`.

    Raises:
        BadResponseError: there are records, but none that is readable.
    """
    found: dict[Organization, None] = {}
    unreadable = 0
    for results in pages:
        readable = []
        for parsed in map(parse_organization, results):
            if isinstance(parsed, Organization):
                readable.append(parsed)
            else:
                unreadable += 1
                on_rejected(parsed)
        found |= dict.fromkeys(readable)
        listed.add([one.id or one.label for one in readable])
        if max(len(found), len(listed.ids)) >= _MAX_ORGANIZATIONS:
            break
    if unreadable and not found:
        raise _unreadable(unreadable, "organizations")
    return tuple(found)[:_MAX_ORGANIZATIONS]


def _unreadable(records: int, operation: str) -> BadResponseError:
    return BadResponseError(f"none of the {records} records can be read", operation=operation)
