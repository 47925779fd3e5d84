"""Walking a collection of the API page by page, with nothing of the pages believed blindly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from exporter.vb365.errors import BadResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["MAX_PAGES", "BaseUrl", "iter_pages"]

MAX_PAGES: Final = 10_000
_MOST_RESULTS: Final = 100_000
"""More than the largest body of real sessions holds."""
_LONGEST_HREF_CHARACTERS: Final = 8192
_PLAIN_HREF = re.compile(
    r"[\x21-\x5b\x5d-\x7e]+"
)  # what a URL consists of; no backslash, which some read as a slash
_DEFAULT_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where the API is: the configured URL, in parts. Targets are paths with queries below its origin."""

    netloc: str
    prefix: str
    """The path that comes before every path of the API; empty unless there is a reverse proxy."""

    @classmethod
    def of(cls, url: str) -> BaseUrl:
        """Split a configured URL."""
        parts = urlsplit(url)
        return cls(parts.netloc, parts.path.rstrip("/"))

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"https://{self.netloc}"

    def target(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """The target of a path of the API."""
        return f"{self.prefix}/{path}?{urlencode(query)}" if query else f"{self.prefix}/{path}"

    def resolve_link(self, href: object) -> str:
        """The target of a link in an answer: absolute, from the root, or (as links to items are) without a slash.

        Raises:
            ValueError: it leads elsewhere, or is no link.
        """
        if (
            not isinstance(href, str)
            or len(href) > _LONGEST_HREF_CHARACTERS
            or not _PLAIN_HREF.fullmatch(href)
        ):
            raise ValueError("is no link")
        parts = urlsplit(href)
        if parts.scheme or parts.netloc:
            if parts.scheme not in {"https", ""} or _host_and_port(parts.netloc) != _host_and_port(
                self.netloc
            ):
                raise ValueError("leads to another server")
            path = parts.path or "/"
        else:
            path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
        if self.prefix and not path.lower().startswith(f"{self.prefix}/".lower()):
            path = self.prefix + path  # a reverse proxy does not rewrite links inside of answers
        return f"{path}?{parts.query}" if parts.query else path


def _host_and_port(netloc: str) -> tuple[str | None, int, bool]:
    parts = urlsplit(f"//{netloc}")
    return parts.hostname, parts.port or _DEFAULT_PORT, "@" in netloc


def iter_pages(
    ask: Callable[[str], object],
    *,
    base_url: BaseUrl,
    path: str,
    query: Mapping[str, object],
    page_size: int,
    operation: str,
    max_pages: int = MAX_PAGES,
) -> Iterator[list[object]]:
    """Yield each page's `results`.

    Follows `_links.next.href` while pages have it. A server that gives none is asked by offset, until a page holds
    fewer results than the `limit` that the page itself states: the server may have lowered ours.

    Args:
        ask: gets the decoded answer of a target.
        base_url: where the API is.
        path: the collection's.
        query: filters.
        page_size: how many results to ask for at a time.
        operation: for errors.
        max_pages: after so many the paging is called endless.

    Raises:
        BadResponseError: a page of a wrong shape, a link to elsewhere, or paging without end.
        Vb365Error: whatever `ask` raises.
    """
    target = base_url.target(path, {**query, "offset": 0, "limit": page_size})
    asked = {target}
    offset = 0
    linked = False
    ids_before: list[object] = []
    while True:
        page = ask(target)
        results = page.get("results") if isinstance(page, dict) else None
        if not isinstance(page, dict) or not isinstance(results, list):
            raise BadResponseError("a page without results", operation=operation)
        if len(results) > _MOST_RESULTS:
            raise BadResponseError(
                f"a page of more than {_MOST_RESULTS} results", operation=operation
            )
        ids = [record.get("id") if isinstance(record, dict) else None for record in results]
        if results and ids == ids_before:
            raise BadResponseError(
                "endless paging: a page like the one before", operation=operation
            )
        yield results
        offset += len(results)
        href = _next_href(page)
        if href is not None:
            linked = True
            if not results:
                raise BadResponseError(
                    "endless paging: an empty page with a next one", operation=operation
                )
            target = _followed(href, base_url, operation)
        elif linked or len(results) < _limit(page):
            return
        else:
            target = base_url.target(path, {**query, "offset": offset, "limit": page_size})
        if target in asked:
            raise BadResponseError("endless paging: a page that leads back", operation=operation)
        if len(asked) >= max_pages:
            raise BadResponseError(
                f"endless paging: more than {max_pages} pages", operation=operation
            )
        asked.add(target)
        ids_before = ids


def _next_href(page: Mapping[object, object]) -> object:
    links = page.get("_links")
    link = links.get("next") if isinstance(links, dict) else None
    return link.get("href") if isinstance(link, dict) else None


def _followed(href: object, base_url: BaseUrl, operation: str) -> str:
    try:
        return base_url.resolve_link(href)
    except ValueError as error:
        # Python's own words for what is no URL repeat it.
        why = (
            str(error) if str(error) in {"is no link", "leads to another server"} else "is no link"
        )
    raise BadResponseError(f"the link to the next page {why}", operation=operation)


def _limit(page: Mapping[object, object]) -> int:
    """The most results that this page could hold; when it does not say, only an empty one is the last."""
    limit = page.get("limit")
    if isinstance(limit, str) and limit.isascii() and limit.isdecimal() and len(limit) <= 9:
        limit = int(limit)
    if not isinstance(limit, int) or limit <= 0:
        return 1
    return limit
