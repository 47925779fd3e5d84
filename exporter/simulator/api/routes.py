"""The paths of the API: which operation a request is, without regard to upper and lower case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

API_VERSIONS = ("v6", "v7", "v8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path below the version's prefix; the groups of `path` are the call's ids."""

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
    """One request to a path that is served: `parameters` are the query's, names in lower case."""

    request: web.BaseRequest
    operation: str
    version: str
    anonymous: bool
    ids: tuple[str, ...]
    parameters: Mapping[str, str]

    @property
    def session_id(self) -> str | None:
        """The id of the session the call is about, in lower case."""
        return self.ids[0] if self.ids else None


class Problem(Exception):  # noqa: N818 - the API's answer to a bad request, not a fault of the simulator
    """What the API answers instead of a resource.

    An empty `message` makes an empty body; `error_code` is the errorCode of v8.
    """

    def __init__(self, status: int, message: str = "", error_code: str | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.error_code = error_code


def match(request: web.BaseRequest, served: tuple[str, ...]) -> Call:
    """The call that a request is.

    Raises:
        Problem: 404 with an empty body, the prefix or the path is not served; 405, the path is, but not this method.
    """
    version, _, path = request.path.strip("/").lower().partition("/")
    if version not in served:
        raise Problem(404)
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
        raise Problem(405, text)
    raise Problem(404)
