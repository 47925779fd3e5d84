"""The API version to use, and the version of the product.

No endpoint lists the API versions. An anonymous `GET /{v}/ServiceInstance` gives 401 for a version that the server has,
and 404 for any other.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from itertools import takewhile
from urllib.parse import urlsplit

import structlog

from exporter.config.model import ServerConfig
from exporter.vb365.base_url import host_and_port
from exporter.vb365.errors import BadResponseError, NotFoundError

log = structlog.get_logger()

NEWEST_FIRST = ("v8", "v7", "v6")
"""The known API versions."""
_MAX_VERSION_CHARACTERS = 512
_FIRST_UPGRADE_SECONDS = 60.0
_MAX_UPGRADE_SECONDS = 3600.0


class Versions:
    """The API version of one server: the configured one, or the newest that the server has. Shared by threads.

    Args:
        server: the configuration.
        is_served: returns whether the server has a version, or raises Vb365Error.
        is_served_now: returns the same after one short request; False if it fails.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        is_served: Callable[[str], bool],
        is_served_now: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._server = server
        self._is_served = is_served
        self._is_served_now = is_served_now
        self._clock = clock
        self._upgrade_seconds = _FIRST_UPGRADE_SECONDS
        self._upgrade_due_at = math.inf
        self._lock = threading.Lock()
        self._is_current = server.api_version != "auto"
        self.selected = str(server.api_version) if self._is_current else None
        """The version selected most recently; None before the first detection."""

    @property
    def have_logout(self) -> bool:
        """Whether the selected version has a logout."""
        return self.selected in {"v7", "v8"}

    @property
    def needs_antiforgery_opt_out(self) -> bool:
        """Whether the selected version requires antiforgery cookies unless a login opts out."""
        return self.selected in {"v7", "v8"}

    @property
    def have_feed_and_statistics(self) -> bool:
        """Whether the selected version has a change feed and statistics of sessions."""
        return self.selected == "v8"

    def current(self) -> str:
        """Return the version to use; detect it if necessary.

        Raises:
            NotFoundError: the server has none of the known versions.
            Vb365Error: detection failed.
        """
        with self._lock:
            if not self._is_current or self.selected is None:
                previous, self.selected = self.selected, self._newest()
                self._is_current = True
                self._upgrade_seconds = _FIRST_UPGRADE_SECONDS
                self._upgrade_due_at = self._clock() + self._upgrade_seconds
                if previous in NEWEST_FIRST[: NEWEST_FIRST.index(self.selected)]:
                    log.warning(
                        "older api version selected, trying the newer one again soon",
                        server=self._server.name,
                        api_version=self.selected,
                        previous=previous,
                    )
            return self.selected

    def served(self) -> tuple[str, ...]:
        """Return all versions that the server has, the newest first.

        Raises:
            Vb365Error: detection failed.
        """
        return tuple(version for version in NEWEST_FIRST if self._is_served(version))

    def upgrade(self) -> None:
        """Select a newer version if the server has one by now. Do nothing until it is due.

        A server that is starting may respond with 404 for a version that it has a little later. An upgrade is due a minute
        after each detection, then after twice as long each time, and finally every hour.
        """
        with self._lock:
            if not self._is_current or self._clock() < self._upgrade_due_at:
                return
            self._upgrade_seconds = min(2 * self._upgrade_seconds, _MAX_UPGRADE_SECONDS)
            self._upgrade_due_at = self._clock() + self._upgrade_seconds
            for version in takewhile(lambda each: each != self.selected, NEWEST_FIRST):
                if self._is_served_now(version):
                    log.info(
                        "newer api version selected",
                        server=self._server.name,
                        api_version=version,
                        previous=self.selected,
                    )
                    self.selected = version
                    return

    def redetect(self) -> None:
        """Detect the version again for the next request, unless it is configured."""
        self._is_current = self._server.api_version != "auto"

    def _newest(self) -> str:
        for version in NEWEST_FIRST:
            if self._is_served(version):
                log.debug("api version selected", server=self._server.name, api_version=version)
                return version
        address = f"https://{host_and_port(self._server.url)}{urlsplit(self._server.url).path}"
        raise NotFoundError(
            f"the API was not found: {address} has none of {', '.join(NEWEST_FIRST)}",
            operation="service_instance",
            status=404,
        )


def parse_product_version(body: object) -> str:
    """Return `version` of a ServiceInstance response, any JSON value; empty without one.

    Raises:
        BadResponseError: it is not an object.
    """
    if not isinstance(body, dict):
        raise BadResponseError("the response is not a JSON object", operation="service_instance")
    version = body.get("version")
    return version[:_MAX_VERSION_CHARACTERS] if isinstance(version, str) else ""
