"""Paging through a collection of the API, guarded against endless paging and links to other servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from exporter.vb365.errors import BadResponseError

__all__ = ["MAX_PAGES", "BaseUrl", "iter_pages"]

MAX_PAGES = 10_000
_MAX_RESULTS = 100_000
"""More sessions than the largest accepted response body can hold."""
_MAX_HREF_CHARACTERS = 8192
_MAX_LIMIT_DIGITS = 9
_HREF = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
"""Visible ASCII except the backslash, which some software treats as a slash."""
_DEFAULT_PORT = 443


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """The configured URL of the API, split into its parts. A target is the path and query of a request.

    Args:
        netloc: host and port.
        prefix: the path that a reverse proxy puts before every path of the API; usually empty.
    """

    netloc: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> BaseUrl:
        """Parse a configured URL."""
        parts = urlsplit(url)
        return cls(parts.netloc, parts.path.rstrip("/"))

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"https://{self.netloc}"

    def target(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """Return the target for a path of the API."""
        return f"{self.prefix}/{path}?{urlencode(query)}" if query else f"{self.prefix}/{path}"

    def resolve_link(self, href: object, *, operation: str) -> str:
        """Return the target of a link to a next page: a URL, or a path with or without a leading slash.

        Raises:
            BadResponseError: the link is malformed or leads to another server.
        """
        malformed = BadResponseError("the link to the next page is malformed", operation=operation)
        if (
            not isinstance(href, str)
            or len(href) > _MAX_HREF_CHARACTERS
            or not _HREF.fullmatch(href)
        ):
            raise malformed
        try:
            parts = urlsplit(href)
            authority = _authority(parts.netloc)
        except ValueError:
            raise malformed from None  # urllib's message contains the link
        is_path = not parts.scheme and not parts.netloc
        if not is_path and (
            parts.scheme not in {"", "https"} or authority != _authority(self.netloc)
        ):
            raise BadResponseError(
                "the link to the next page leads to another server", operation=operation
            )
        path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
        if self.prefix and not path.lower().startswith(f"{self.prefix}/".lower()):
            path = self.prefix + path  # reverse proxies do not rewrite links in bodies
        return f"{path}?{parts.query}" if parts.query else path


def _authority(netloc: str) -> tuple[str | None, int, bool]:
    parts = urlsplit(f"//{netloc}")
    return parts.hostname, parts.port or _DEFAULT_PORT, "@" in netloc


def iter_pages(
    fetch: Callable[[str], object],
    *,
    base_url: BaseUrl,
    path: str,
    query: Mapping[str, object],
    page_size: int,
    operation: str,
    max_pages: int = MAX_PAGES,
) -> Iterator[list[object]]:
    """Yield the `results` of each page.

    Follow `_links.next.href` while pages have it. If the server sends no links, request pages by offset until one
    holds fewer results than its own `limit`, which may be lower than the requested one.

    Args:
        fetch: returns the decoded response for a target.
        base_url: the URL of the API.
        path: the path of the collection.
        query: filters.
        page_size: the number of results to request per page.
        operation: named in errors.
        max_pages: more pages count as endless paging.

    Raises:
        BadResponseError: a page has the wrong shape or links to another server, or the paging is endless.
        Vb365Error: `fetch` failed.
    """
    offset = 0
    href = None
    requested: set[str] = set()
    previous_ids: list[object] = []
    while True:
        if href is None:
            target = base_url.target(path, {**query, "offset": offset, "limit": page_size})
        else:
            target = base_url.resolve_link(href, operation=operation)
        if target in requested:
            raise _endless("a page links back to an earlier one", operation)
        if len(requested) >= max_pages:
            raise _endless(f"more than {max_pages} pages", operation)
        requested.add(target)
        page, results = _page(fetch(target), operation)
        ids = [record.get("id") if isinstance(record, dict) else None for record in results]
        if results and ids == previous_ids:
            raise _endless("a page repeats the previous one", operation)
        yield results
        previous_ids = ids
        offset += len(results)
        was_linked = href is not None
        href = _next_href(page)
        if href is not None and not results:
            raise _endless("an empty page links to a next one", operation)
        if href is None and (was_linked or len(results) < _limit(page)):
            return


def _endless(evidence: str, operation: str) -> BadResponseError:
    return BadResponseError(f"endless paging: {evidence}", operation=operation)


def _page(document: object, operation: str) -> tuple[Mapping[object, object], list[object]]:
    page = document if isinstance(document, dict) else {}
    results = page.get("results")
    if not isinstance(results, list):
        raise BadResponseError("a page has no results", operation=operation)
    if len(results) > _MAX_RESULTS:
        raise BadResponseError(f"a page has more than {_MAX_RESULTS} results", operation=operation)
    return page, results


def _next_href(page: Mapping[object, object]) -> object:
    links = page.get("_links")
    link = links.get("next") if isinstance(links, dict) else None
    return link.get("href") if isinstance(link, dict) else None


def _limit(page: Mapping[object, object]) -> int:
    """Return the `limit` of a page; 1 if it has no usable one, so that only an empty page ends the paging."""
    limit = page.get("limit")
    if isinstance(limit, str) and len(limit) <= _MAX_LIMIT_DIGITS and limit.isdecimal():
        limit = int(limit)
    return limit if isinstance(limit, int) and limit > 0 else 1
