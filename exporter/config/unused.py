"""Settings of the file that have no effect because of other settings."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.model import Config, ServerConfig, SessionsConfig
from exporter.config.problems import Location, Problem, dotted
from exporter.config.resolve import discovers, repetitions

__all__ = ["unused_settings"]


def unused_settings(file: Config) -> tuple[Problem, ...]:
    """Return a problem for each unused or shadowed setting of a valid file, in the order of the file."""
    return tuple(Problem(dotted(location), message) for location, message in _unused(file))


def _unused(file: Config) -> Iterator[tuple[Location, str]]:
    if all("poll_interval" in block.model_fields_set for block in (file, *file.servers)):
        yield ("poll_interval",), "unused: every server has its own"
    for index, server in enumerate(file.servers):
        yield from _unused_of_server(server, ("servers", index))


def _unused_of_server(server: ServerConfig, location: Location) -> Iterator[tuple[Location, str]]:
    if server.tls_config.ca_file is not None and server.tls_config.insecure_skip_verify:
        message = "unused: insecure_skip_verify trusts any certificate"
        yield (*location, "tls_config", "ca_file"), message
    has_version_8 = server.api_version in {"auto", "v8"}
    wants_feed = "change_feed" in server.model_fields_set and server.change_feed == "auto"
    if wants_feed and not has_version_8:
        yield (*location, "change_feed"), f"unused: API {server.api_version} has no change feed"
    yield from _unused_of_sessions(server.sessions, (*location, "sessions"))
    if "statistics" in server.sessions.extras and not has_version_8:
        index = server.sessions.extras.index("statistics")
        message = f"unused: API {server.api_version} has no statistics"
        yield (*location, "sessions", "extras", index), message


def _unused_of_sessions(
    sessions: SessionsConfig, location: Location
) -> Iterator[tuple[Location, str]]:
    for index, first in repetitions(sessions.ids):
        yield (*location, "ids", index), f"unused: the same as ids[{first}]"
    written = sessions.model_fields_set
    if not discovers(sessions):
        message = "unused: only the sessions under ids are followed, as discover is false"
        for key in ("lookback", "max_series", "max_sessions"):
            if key in written:
                yield (*location, key), message
    elif "max_series" in written and sessions.max_series > sessions.max_sessions:
        yield (*location, "max_series"), "shadowed: max_sessions is lower"
    if sessions.extras and sessions.max_series == 0 and not sessions.ids:
        yield (*location, "extras"), "unused: max_series is 0: no session has series of its own"
