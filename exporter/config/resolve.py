"""The file's blocks to the configuration in force: defaults, files, and rules between keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from exporter.config.durations import format_duration
from exporter.config.files import (
    LoadContext,
    ca_file_problem,
    key_pair_problem,
    read_problem,
)
from exporter.config.grammar import (
    SECRET_KEYS,
    AuthBlock,
    Block,
    ConfigFile,
    ServerBlock,
    SessionsBlock,
    TLSBlock,
)
from exporter.config.model import (
    AuthConfig,
    Config,
    ServerConfig,
    SessionsConfig,
    TLSConfig,
    default_stale_after,
)
from exporter.config.problems import Location, ProblemCollector, dotted
from exporter.config.secrets import SecretSource, SecretUnavailableError

__all__ = ["resolve"]

_ALL_SECRET_KEYS = f"{', '.join(SECRET_KEYS[:-1])} or {SECRET_KEYS[-1]}"


def resolve(file: ConfigFile, problems: ProblemCollector, context: LoadContext) -> Config | None:
    """The configuration in force, or None when `problems` has a problem."""
    poll_interval = file.poll_interval or Config.model_fields["poll_interval"].default
    _check_stale_after(file, poll_interval, problems)
    _check_unique(file.info_labels or (), ("info_labels",), problems)
    if not file.servers and not problems.is_invalid(("servers",)):
        problems.report(("servers",), "at least one server is needed")
    servers = []
    for index, block in enumerate(file.servers or ()):
        server = _server(block, ("servers", index), poll_interval, problems, context)
        if server is not None:
            stale_after = file.stale_after or default_stale_after(server.poll_interval)
            servers.append(server.model_copy(update={"stale_after": stale_after}))
    _check_names(file.servers or (), problems)
    if problems.found:
        return None
    return Config(
        poll_interval=poll_interval,
        stale_after=file.stale_after or default_stale_after(poll_interval),
        info_labels=file.info_labels or (),
        servers=tuple(servers),
    )


def _check_stale_after(file: ConfigFile, poll_interval: float, problems: ProblemCollector) -> None:
    """A stale_after within the poll interval would make every series come and go."""
    if file.stale_after is None:
        return
    servers = file.servers or ()
    in_use = file.poll_interval is not None or any(s.poll_interval is None for s in servers)
    if in_use and file.stale_after <= poll_interval and not problems.is_invalid(("poll_interval",)):
        message = f"must be longer than poll_interval ({format_duration(poll_interval)})"
        problems.report(("stale_after",), message)
    for index, server in enumerate(servers):
        if server.poll_interval is not None and file.stale_after <= server.poll_interval:
            message = f"must be shorter than stale_after ({format_duration(file.stale_after)})"
            problems.report(("servers", index, "poll_interval"), message)


def _check_unique(values: Iterable[str], place: Location, problems: ProblemCollector) -> None:
    if problems.is_invalid(place):
        return  # without the invalid ones the indices are others
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            problems.report(
                (*place, index), f"given twice, first as {dotted(place)}[{first[value]}]"
            )


def _check_names(servers: Iterable[ServerBlock], problems: ProblemCollector) -> None:
    first: dict[str, int] = {}
    for index, server in enumerate(servers):
        name = _name(server, ("servers", index), problems)
        if name is not None and first.setdefault(name, index) != index:
            origin = "" if server.name is not None else ", taken from url"
            message = f'duplicate name "{name}"{origin}; servers[{first[name]}] has it already'
            problems.report(("servers", index, "name"), message)


def _name(server: ServerBlock, place: Location, problems: ProblemCollector) -> str | None:
    """The server's name, or None when it or the url that it is taken from is in error."""
    if server.name is not None or problems.is_invalid((*place, "name")):
        return server.name
    return urlsplit(server.url).hostname if server.url is not None else None


def _server(
    block: ServerBlock,
    place: Location,
    poll_interval: float,
    problems: ProblemCollector,
    context: LoadContext,
) -> ServerConfig | None:
    if place in problems.invalid:
        return None
    if block.url is None and not problems.is_invalid((*place, "url")):
        problems.report((*place, "url"), "is needed, such as https://vb365.example.com:4443")
    if block.proxy_url is not None and block.proxy_from_environment:
        message = "cannot be used together with proxy_from_environment: true"
        problems.report((*place, "proxy_url"), message)
    auth = _auth(block.auth or AuthBlock(), (*place, "auth"), problems, context)
    tls_config = _tls_config(
        block.tls_config or TLSBlock(), (*place, "tls_config"), problems, context
    )
    sessions = _sessions(block.sessions or SessionsBlock(), (*place, "sessions"), problems)
    name = _name(block, place, problems)
    if block.url is None or auth is None or name is None:
        return None
    given = _given(block) | {
        "name": name,
        "poll_interval": block.poll_interval or poll_interval,
        "auth": auth,
        "tls_config": tls_config,
        "sessions": sessions,
    }
    return ServerConfig(**given)


def _auth(
    block: AuthBlock, place: Location, problems: ProblemCollector, context: LoadContext
) -> AuthConfig | None:
    if place in problems.invalid:
        return None
    written = [
        key
        for key in SECRET_KEYS
        if getattr(block, key) is not None or problems.is_invalid((*place, key))
    ]
    if len(written) != 1:
        given = f"given are {' and '.join(written)}" if written else "none is given"
        problems.report(place, f"exactly one of {_ALL_SECRET_KEYS} is needed, {given}")
        return None
    kind = "token" if written[0].startswith("token") else "password"
    has_username = block.username is not None or problems.is_invalid((*place, "username"))
    if has_username and kind == "token":
        problems.report((*place, "username"), "does not go with a token, only with a password")
    if not has_username and kind == "password":
        problems.report((*place, "username"), "is needed with a password")
    secret = _secret(block, written[0], context)
    if secret is None:
        return None
    try:
        secret.read()
    except SecretUnavailableError as error:
        problems.report((*place, written[0]), str(error))
    return AuthConfig.model_validate({"kind": kind, "username": block.username, "secret": secret})


def _secret(block: AuthBlock, key: str, context: LoadContext) -> SecretSource | None:
    """The secret of that key, or None when the key's value was left out."""
    value = getattr(block, key)
    if value is None or isinstance(value, SecretSource):
        return value
    bearer = key.startswith("token")
    if key.endswith("_file"):
        return SecretSource(file=context.locate(value), bearer=bearer)
    return SecretSource(env=value, environ=context.environ, bearer=bearer)


def _tls_config(
    block: TLSBlock, place: Location, problems: ProblemCollector, context: LoadContext
) -> TLSConfig:
    files: dict[str, Path] = {
        key: context.locate(name)
        for key in ("ca_file", "cert_file", "key_file")
        if (name := getattr(block, key)) is not None
    }
    for key, partner in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if key not in files and partner in files and not problems.is_invalid((*place, key)):
            problems.report((*place, partner), f"needs {key} beside it")
    if "ca_file" in files and (problem := ca_file_problem(files["ca_file"])):
        problems.report((*place, "ca_file"), problem)
    unreadable = False
    for key in ("cert_file", "key_file"):
        if key in files and (problem := read_problem(files[key])):
            problems.report((*place, key), f"{files[key]} {problem}")
            unreadable = True
    if {"cert_file", "key_file"} <= files.keys() and not unreadable:
        problem = key_pair_problem(files["cert_file"], files["key_file"])
        if problem is not None:
            problems.report((*place, "cert_file"), problem)
    return TLSConfig(**(_given(block) | files))


def _sessions(block: SessionsBlock, place: Location, problems: ProblemCollector) -> SessionsConfig:
    ids = tuple(dict.fromkeys(block.ids or ()))
    if not ids and block.discover is False and not problems.is_invalid((*place, "ids")):
        message = "is empty and discover is false: there is nothing to follow"
        problems.report((*place, "ids"), message)
    _check_unique(block.extras or (), (*place, "extras"), problems)
    discover = not ids if block.discover is None else block.discover
    return SessionsConfig(**(_given(block) | {"ids": ids, "discover": discover}))


def _given(block: Block) -> dict[str, Any]:
    """The keys that the file gives; the configuration in force has the defaults of the others."""
    values = ((key, getattr(block, key)) for key in type(block).model_fields)
    return {key: value for key, value in values if value is not None}
