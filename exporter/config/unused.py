"""Settings of the file that have no effect because of other settings."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.model import Config, ServerConfig, SessionsConfig
from exporter.config.problems import Location, Problem, dotted
from exporter.config.resolve import repetitions

__all__ = ["unused_settings"]


def unused_settings(file: Config, config: Config) -> tuple[Problem, ...]:
    """Return a problem per unused or shadowed setting, in the order of the file.

    Args:
        file: the values in the file.
        config: the configuration in force.
    """
    return tuple(Problem(dotted(location), message) for location, message in _unused(file, config))


def _unused(file: Config, config: Config) -> Iterator[tuple[Location, str]]:
    if all("poll_interval" in block.model_fields_set for block in (file, *file.servers)):
        yield ("poll_interval",), "unused: every server has its own"
    for index, (server, in_force) in enumerate(zip(file.servers, config.servers, strict=True)):
        yield from _unused_of_server(server, in_force, ("servers", index))


def _unused_of_server(
    server: ServerConfig, in_force: ServerConfig, location: Location
) -> Iterator[tuple[Location, str]]:
    if server.tls_config.ca_file is not None and server.tls_config.insecure_skip_verify:
        yield (
            (*location, "tls_config", "ca_file"),
            "unused: insecure_skip_verify trusts any certificate",
        )
    has_version_8 = server.api_version in {"auto", "v8"}
    wants_feed = "change_feed" in server.model_fields_set and server.change_feed == "auto"
    if wants_feed and not has_version_8:
        yield (*location, "change_feed"), f"unused: API {server.api_version} has no change feed"
    yield from _unused_of_sessions(server.sessions, in_force.sessions, (*location, "sessions"))
    if "statistics" in server.sessions.extras and not has_version_8:
        index = server.sessions.extras.index("statistics")
        yield (
            (*location, "sessions", "extras", index),
            f"unused: API {server.api_version} has no statistics",
        )


def _unused_of_sessions(
    sessions: SessionsConfig, in_force: SessionsConfig, location: Location
) -> Iterator[tuple[Location, str]]:
    for index, first in repetitions(sessions.ids):
        yield (*location, "ids", index), f"unused: the same as ids[{first}]"
    written = sessions.model_fields_set
    if not in_force.discover:
        for key in ("lookback", "max_series", "max_sessions"):
            if key in written:
                yield (
                    (*location, key),
                    "unused: only the sessions under ids are followed, as discover is false",
                )
    elif "max_series" in written and sessions.max_series > sessions.max_sessions:
        yield (*location, "max_series"), "shadowed: max_sessions is lower"
    if sessions.extras and sessions.max_series == 0 and not sessions.ids:
        yield (*location, "extras"), "unused: max_series is 0: no session has series of its own"
