"""Settings in the file that are fine but have no effect, because another one overrules them."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config.grammar import ConfigFile, ServerBlock, SessionsBlock
from exporter.config.model import Config, ServerConfig
from exporter.config.problems import Location, Problem, dotted

__all__ = ["unused_settings"]


def unused_settings(file: ConfigFile, config: Config) -> tuple[Problem, ...]:
    """A problem per unused or shadowed setting of the file, in the file's order."""
    return tuple(Problem(dotted(place), message) for place, message in _unused(file, config))


def _unused(file: ConfigFile, config: Config) -> Iterator[tuple[Location, str]]:
    blocks = file.servers or ()
    if file.poll_interval is not None and all(block.poll_interval for block in blocks):
        yield ("poll_interval",), "unused: every server has its own"
    for index, (block, server) in enumerate(zip(blocks, config.servers, strict=True)):
        yield from _unused_of_server(block, server, ("servers", index))


def _unused_of_server(
    block: ServerBlock, server: ServerConfig, place: Location
) -> Iterator[tuple[Location, str]]:
    if server.tls_config.ca_file is not None and server.tls_config.insecure_skip_verify:
        yield (
            (*place, "tls_config", "ca_file"),
            "unused: insecure_skip_verify trusts any certificate",
        )
    has_version_8 = server.api_version in {"auto", "v8"}
    if block.change_feed == "auto" and not has_version_8:
        yield (*place, "change_feed"), f"unused: API {server.api_version} has no change feed"
    if block.sessions is not None:
        yield from _unused_of_sessions(block.sessions, server, (*place, "sessions"))
    if "statistics" in server.sessions.extras and not has_version_8:
        index = server.sessions.extras.index("statistics")
        yield (
            (*place, "sessions", "extras", index),
            f"unused: API {server.api_version} has no statistics",
        )


def _unused_of_sessions(
    block: SessionsBlock, server: ServerConfig, place: Location
) -> Iterator[tuple[Location, str]]:
    first: dict[str, int] = {}
    for index, session_id in enumerate(block.ids or ()):
        if first.setdefault(session_id, index) != index:
            yield (*place, "ids", index), f"unused: the same as ids[{first[session_id]}]"
    if not server.sessions.discover:
        why = "unused: only the sessions under ids are followed, as discover is false"
        if block.lookback is not None:
            yield (*place, "lookback"), why
        if block.max_series is not None:
            yield (*place, "max_series"), why
        if block.max_sessions is not None:
            yield (*place, "max_sessions"), why
    elif block.max_series is not None and block.max_series > server.sessions.max_sessions:
        yield (*place, "max_series"), "shadowed: max_sessions is lower"
    if block.extras and server.sessions.max_series == 0 and not server.sessions.ids:
        yield (*place, "extras"), "unused: max_series is 0: no session has series of its own"
