"""The lists of the API: restore sessions page by page, and organizations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from exporter.text import format_instant
from exporter.vb365.errors import BadResponseError, NotFoundError
from exporter.vb365.paging import iter_pages
from exporter.vb365.records.organization import Organization, parse_organization
from exporter.vb365.records.restore_session import Page, parse_page
from exporter.vb365.rest import RestApi

_OVERLAPPING_SESSIONS = 20
"""How many sessions at the end of a page are requested again, to detect that others were deleted meanwhile."""

_MAX_ORGANIZATIONS = 10_000
_ORGANIZATIONS_PER_PAGE = 1000
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
        overlap=_OVERLAPPING_SESSIONS,
    ):
        page = parse_page(results)
        readable += len(page.sessions)
        unreadable += len(page.rejections)
        yield page
    if unreadable and not readable:
        # An unreadable record does not fail a list, but a list without a readable one confirms nothing.
        raise _unreadable(unreadable, "list")


def read_organizations(api: RestApi, *, until: float) -> tuple[Organization, ...]:
    """Return the organizations that `Client.organizations` describes; the response is an array until v7."""

    def fetch(target: str) -> object:
        document = api.get("organizations", target, until=until)
        if isinstance(document, list):
            return {"results": document, "limit": len(document) + 1}  # the only page
        return document

    organizations: dict[Organization, None] = {}
    unreadable = 0
    for results in iter_pages(
        fetch,
        base_url=api.base_url,
        path=f"{api.versions.current()}/Organizations",
        query={"extendedView": "false"},
        page_size=_ORGANIZATIONS_PER_PAGE,
        operation="organizations",
        max_pages=_MAX_ORGANIZATION_PAGES,
    ):
        for record in results:
            organization = parse_organization(record)
            if organization is None:
                unreadable += 1
            else:
                organizations[organization] = None
        if len(organizations) >= _MAX_ORGANIZATIONS:
            break
    if unreadable and not organizations:
        raise _unreadable(unreadable, "organizations")
    return tuple(organizations)[:_MAX_ORGANIZATIONS]


def _unreadable(records: int, operation: str) -> BadResponseError:
    return BadResponseError(f"none of the {records} records can be read", operation=operation)
