"""Which version of the API to ask for: the configured one, or the newest that the server serves.

No endpoint lists versions. Asked for its ServiceInstance without a token, a version that is served answers 401, and
one that is not answers 404.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import structlog

from exporter.vb365.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config.model import ServerConfig

__all__ = ["Versions"]

log = structlog.get_logger()

_NEWEST_FIRST: Final = ("v8", "v7", "v6")
_WITH_ANTIFORGERY: Final = frozenset({"v7", "v8"})
_WITH_FEED_AND_STATISTICS: Final = frozenset({"v8"})
_WITH_LOGOUT: Final = frozenset({"v7", "v8"})


class Versions:
    """The version of one server's API. Shared by threads."""

    def __init__(self, server: ServerConfig, *, is_served: Callable[[str], bool]) -> None:
        """Take what the choice depends on.

        Args:
            server: the configuration.
            is_served: asks the server whether it serves a version; may raise Vb365Error.
        """
        self._server = server
        self._is_served = is_served
        self._choosing = threading.Lock()
        self._is_settled = server.api_version != "auto"
        self.chosen = str(server.api_version) if self._is_settled else None
        """The version chosen last; None before the first choice."""

    @property
    def have_logout(self) -> bool:
        """Whether the chosen version can log out."""
        return self.chosen in _WITH_LOGOUT

    @property
    def needs_antiforgery_opt_out(self) -> bool:
        """Whether the chosen version wants cookies against forged requests, unless a login says otherwise."""
        return self.chosen in _WITH_ANTIFORGERY

    @property
    def have_feed_and_statistics(self) -> bool:
        """Whether the chosen version has a change feed, and statistics of sessions."""
        return self.chosen in _WITH_FEED_AND_STATISTICS

    def current(self) -> str:
        """The version to ask for, chosen now if need be.

        Raises:
            NotFoundError: the server serves none.
            Vb365Error: it did not say.
        """
        version = self.chosen
        if self._is_settled and version is not None:
            return version
        with self._choosing:
            if not self._is_settled or self.chosen is None:
                self.chosen = self._newest()
                self._is_settled = True
            return self.chosen

    def redetect(self) -> None:
        """Choose anew for the next request, if the choice is free."""
        self._is_settled = self._server.api_version != "auto"

    def _newest(self) -> str:
        for version in _NEWEST_FIRST:
            if self._is_served(version):
                log.debug("api version chosen", server=self._server.name, api_version=version)
                return version
        raise NotFoundError(
            f"the API is not there: {self._server.url} serves none of {', '.join(_NEWEST_FIRST)}",
            operation="service_instance",
            status=404,
        )
