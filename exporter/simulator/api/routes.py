"""Case-insensitive routing of requests to the operations of the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

API_VERSIONS = ("v6", "v7", "v8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path below the version prefix; the groups of `path` are the ids of the call."""

    operation: str
    method: str
    path: re.Pattern[str]
    versions: tuple[str, ...] = API_VERSIONS
    anonymous: bool = False


def _route(
    operation: str,
    request: str,
    versions: tuple[str, ...] = API_VERSIONS,
    *,
    anonymous: bool = False,
) -> Route:
    method, path = request.split()
    pattern = re.compile(path.replace("{id}", "([^/]+)"))
    return Route(
        operation=operation, method=method, path=pattern, versions=versions, anonymous=anonymous
    )


_ROUTES = (
    _route("token", "POST token", anonymous=True),
    _route("logout", "POST token/logout", ("v7", "v8")),
    _route("service_instance", "GET serviceinstance"),
    _route("organizations", "GET organizations"),
    _route("list", "GET restoresessions"),
    _route("get", "GET restoresessions/{id}"),
    _route("events", "GET restoresessions/{id}/events"),
    _route("event", "GET restoresessions/{id}/events/{id}"),
    _route("statistics", "GET restoresessions/{id}/statistics", ("v8",)),
    _route("change_feed", "GET events", ("v8",)),
    _route("health", "GET health", ("v8",), anonymous=True),
)

OPERATIONS = tuple(route.operation for route in _ROUTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to a known path; `parameters` are those of the query, with names in lower case."""

    request: web.BaseRequest
    operation: str
    version: str
    anonymous: bool
    ids: tuple[str, ...]
    parameters: Mapping[str, str]

    @property
    def session_id(self) -> str | None:
        """The id of the session in the path, in lower case."""
        return self.ids[0] if self.ids else None


class ApiError(Exception):
    """An error response of the API.

    An empty `message` means an empty body; `error_code` is the errorCode of v8.
    """

    def __init__(self, status: int, message: str = "", error_code: str | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.error_code = error_code


def match(request: web.BaseRequest, served: tuple[str, ...]) -> Call:
    """Route a request.

    Raises:
        ApiError: 404 with an empty body for an unknown version or path, 405 for an unknown method of a known path.
    """
    version, _, path = request.path.strip("/").lower().partition("/")
    if version not in served:
        raise ApiError(404)
    known = False
    for route in _ROUTES:
        found = route.path.fullmatch(path)
        if found is None or version not in route.versions:
            continue
        known = True
        if route.method == request.method:
            return Call(
                request=request,
                operation=route.operation,
                version=version,
                anonymous=route.anonymous,
                ids=found.groups(),
                parameters={name.lower(): value for name, value in request.query.items()},
            )
    if known:
        text = f"The requested resource does not support http method '{request.method}'."
        raise ApiError(405, text)
    raise ApiError(404)
