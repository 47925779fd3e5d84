"""Rules between keys, and defaults that follow from other keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from exporter.config.files import ca_file_problem, key_pair_problem, read_problem
from exporter.config.model import (
    SECRET_KEYS,
    AuthConfig,
    Block,
    Config,
    ServerConfig,
    SessionsConfig,
    TLSConfig,
    default_stale_after,
)
from exporter.config.problems import Location, ProblemCollector, dotted
from exporter.config.secrets import SecretUnavailableError
from exporter.text import format_duration

_ALL_SECRET_KEYS = f"{', '.join(SECRET_KEYS[:-1])} or {SECRET_KEYS[-1]}"


def resolve(file: Config, problems: ProblemCollector) -> Config | None:
    """Return the configuration in force, or None if there is any problem.

    Check the rules between the keys with valid values, their files and secrets, and fill in the remaining defaults.
    """
    _check_stale_after(file, problems)
    _check_unique(file.info_labels, ("info_labels",), problems)
    if not file.servers and not problems.is_invalid(("servers",)):
        problems.report(("servers",), "at least one server is required")
    for index, server in enumerate(file.servers):
        location = ("servers", index)
        if location not in problems.invalid:
            _check_server(server, location, problems)
    _check_names(file.servers, problems)
    return None if problems.found else _in_force(file)


def _is_written(block: Block, key: str, location: Location, problems: ProblemCollector) -> bool:
    """Return whether the file has the key, with a valid value or an invalid one."""
    return key in block.model_fields_set or problems.is_invalid((*location, key))


def _check_stale_after(file: Config, problems: ProblemCollector) -> None:
    """Require `stale_after` to exceed every poll interval; otherwise series would come and go."""
    if "stale_after" not in file.model_fields_set:
        return
    own = ["poll_interval" in server.model_fields_set for server in file.servers]
    in_use = "poll_interval" in file.model_fields_set or not all(own)
    is_valid = not problems.is_invalid(("poll_interval",))
    if in_use and is_valid and file.stale_after <= file.poll_interval:
        message = f"must be longer than poll_interval ({format_duration(file.poll_interval)})"
        problems.report(("stale_after",), message)
    for index, server in enumerate(file.servers):
        if own[index] and file.stale_after <= server.poll_interval:
            message = f"must be shorter than stale_after ({format_duration(file.stale_after)})"
            problems.report(("servers", index, "poll_interval"), message)


def _check_unique(values: Iterable[str], location: Location, problems: ProblemCollector) -> None:
    if problems.is_invalid(location):
        return  # dropped values have shifted the indices
    for index, first in repetitions(values):
        message = f"given twice, first as {dotted((*location, first))}"
        problems.report((*location, index), message)


def repetitions(values: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the index of each value that occurred before, with the index of its first occurrence."""
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            yield index, first[value]


def _check_names(servers: Sequence[ServerConfig], problems: ProblemCollector) -> None:
    # Without its invalid or misspelt name, a server's name is unknown.
    names = [
        server.name if problems.is_invalid(("servers", index, "name")) else _name(server)
        for index, server in enumerate(servers)
    ]
    for index, first in repetitions(names):
        if names[index]:
            origin = "" if servers[index].name else ", taken from url"
            message = f'duplicate name "{names[index]}"{origin}; servers[{first}] has it already'
            problems.report(("servers", index, "name"), message)


def _name(server: ServerConfig) -> str:
    return server.name or urlsplit(server.url).hostname or ""


def _check_server(server: ServerConfig, location: Location, problems: ProblemCollector) -> None:
    if not _is_written(server, "url", location, problems):
        problems.report((*location, "url"), "is required, such as https://vb365.example.com:4443")
    if server.proxy_url is not None and server.proxy_from_environment:
        message = "cannot be used together with proxy_from_environment: true"
        problems.report((*location, "proxy_url"), message)
    if (*location, "auth") not in problems.invalid:
        _check_auth(server.auth, (*location, "auth"), problems)
    _check_tls_config(server.tls_config, (*location, "tls_config"), problems)
    _check_sessions(server.sessions, (*location, "sessions"), problems)


def _check_auth(auth: AuthConfig, location: Location, problems: ProblemCollector) -> None:
    written = [key for key in SECRET_KEYS if _is_written(auth, key, location, problems)]
    if len(written) != 1:
        given = f"{' and '.join(written)} are given" if written else "none is given"
        problems.report(location, f"exactly one of {_ALL_SECRET_KEYS} is required, but {given}")
        return
    is_token = written[0].startswith("token")
    has_username = _is_written(auth, "username", location, problems)
    if has_username and is_token:
        message = "is used with a password only, not with a token"
        problems.report((*location, "username"), message)
    if not has_username and not is_token:
        problems.report((*location, "username"), "is required with a password")
    if written[0] in auth.model_fields_set:
        try:
            auth.secret.read()
        except SecretUnavailableError as error:
            problems.report((*location, written[0]), str(error))


def _check_tls_config(tls: TLSConfig, location: Location, problems: ProblemCollector) -> None:
    if tls.ca_file and (problem := ca_file_problem(tls.ca_file)):
        problems.report((*location, "ca_file"), problem)
    readable = True
    for key, partner in (("cert_file", "key_file"), ("key_file", "cert_file")):
        path = getattr(tls, key)
        if path and not _is_written(tls, partner, location, problems):
            problems.report((*location, key), f"requires {partner} as well")
        if path and (problem := read_problem(path)):
            problems.report((*location, key), problem)
            readable = False
    if readable and tls.cert_file and tls.key_file:
        problem = key_pair_problem(tls.cert_file, tls.key_file)
        if problem is not None:
            problems.report((*location, "cert_file"), problem)


def _check_sessions(
    sessions: SessionsConfig, location: Location, problems: ProblemCollector
) -> None:
    if not sessions.ids and not sessions.discover and not problems.is_invalid((*location, "ids")):
        message = "is empty and discover is false: there is nothing to follow"
        problems.report((*location, "ids"), message)
    _check_unique(sessions.extras, (*location, "extras"), problems)


def _in_force(file: Config) -> Config:
    stale_after = file.stale_after if "stale_after" in file.model_fields_set else None
    servers = [_server_in_force(s, file.poll_interval, stale_after) for s in file.servers]
    return file.model_copy(
        update={
            "stale_after": stale_after or default_stale_after(file.poll_interval),
            "servers": tuple(servers),
        }
    )


def _server_in_force(
    server: ServerConfig, poll_interval: float, stale_after: float | None
) -> ServerConfig:
    if "poll_interval" in server.model_fields_set:
        poll_interval = server.poll_interval
    sessions = server.sessions
    discover = sessions.discover if "discover" in sessions.model_fields_set else not sessions.ids
    followed = {"ids": tuple(dict.fromkeys(sessions.ids)), "discover": discover}
    return server.model_copy(
        update={
            "name": _name(server),
            "poll_interval": poll_interval,
            "stale_after": stale_after or default_stale_after(poll_interval),
            "sessions": sessions.model_copy(update=followed),
        }
    )
