"""The configured URL of the API, and links of responses, which must not lead to other servers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from exporter.vb365.errors import BadResponseError

MAX_HREF_CHARACTERS = 8192
_HREF = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
"""Visible ASCII except the backslash, which some software treats as a slash."""


class BaseUrl:
    """The configured URL of the API. A target is the path and query of a request.

    Args:
        url: its path, if any, is what a reverse proxy puts before every path of the API.
    """

    def __init__(self, url: str) -> None:
        self._prefix = urlsplit(url).path.rstrip("/")

    def target(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """Return the target for a path of the API."""
        return f"{self._prefix}/{path}?{urlencode(query)}" if query else f"{self._prefix}/{path}"

    def resolve_link(self, href: object, *, operation: str) -> str:
        """Return the target of a link to a next page: a URL, or a path with or without a leading slash.

        Scheme, host and port of a URL are ignored: behind a reverse proxy, a server links to the name that it knows
        itself by. The target is requested from the configured origin, so no other host receives the token.

        Raises:
            BadResponseError: the link is malformed.
        """
        malformed = BadResponseError("the link to the next page is malformed", operation=operation)
        if (
            not isinstance(href, str)
            or len(href) > MAX_HREF_CHARACTERS
            or not _HREF.fullmatch(href)
        ):
            raise malformed
        try:
            parts = urlsplit(href)
        except ValueError:
            raise malformed from None  # urllib's message contains the link
        if parts.scheme not in {"", "http", "https"}:
            raise malformed
        path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
        if self._prefix and not path.lower().startswith(f"{self._prefix}/".lower()):
            path = self._prefix + path  # reverse proxies do not rewrite links in bodies
        return f"{path}?{parts.query}" if parts.query else path


def host_and_port(url: str) -> str:
    """Return host and port of an https URL, even if the URL has no port."""
    parts = urlsplit(url)
    return parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:443"
