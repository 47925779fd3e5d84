"""Warnings about a valid file: settings without effect, and values that are probably mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from exporter.config.files import is_readable_by_everybody
from exporter.config.model import AuthConfig, Config, ServerConfig, SessionsConfig
from exporter.config.problems import Location, Problem, by_place, dotted
from exporter.config.resolve import repetitions
from exporter.config.secrets import SecretUnavailableError, without_line_break
from exporter.config.suspicious_text import (
    NOT_EXPANDED,
    describe,
    invisible_character,
    is_quoted,
    looks_like_variable,
)
from exporter.config.urls import why_unreachable

_API_PORT = 4443
_HTTPS_PORT = 443
_API_PATH = re.compile(r"/(v[0-9]+|swagger)(/|$)", re.IGNORECASE)
_VARIABLE = f"looks like a variable; {NOT_EXPANDED}"
_QUOTED = "starts and ends with quotes, which are part of the"
_DOUBLED_BACKSLASH = r"has a doubled backslash; YAML reads \\ as one only in double quotes"


def warnings_of(file: Config, config: Config, path: Path | None = None) -> tuple[Problem, ...]:
    """Return the warnings in the order of the file; none shows a secret.

    Args:
        file: the values of the file.
        config: the configuration that follows from it.
        path: the file, if the configuration was loaded from one.
    """
    warnings: list[Problem] = []
    if all("poll_interval" in block.model_fields_set for block in (file, *file.servers)):
        warnings.append(Problem("poll_interval", "unused: every server has its own"))
    for index, (written, server) in enumerate(zip(file.servers, config.servers, strict=True)):
        found = (
            *_unused(written),
            *_unused_of_sessions(written.sessions, discover=server.sessions.discover),
            *_mistakes(server),
            *_exposures(server, path),
        )
        warnings += (Problem(dotted(("servers", index, *place)), text) for place, text in found)
    return tuple(sorted(warnings, key=by_place))


def _unused(server: ServerConfig) -> Iterator[tuple[Location, str]]:
    if server.tls_config.ca_file is not None and server.tls_config.insecure_skip_verify:
        yield ("tls_config", "ca_file"), "unused: insecure_skip_verify trusts any certificate"
    if server.api_version in {"auto", "v8"}:
        return
    if "change_feed" in server.model_fields_set and server.change_feed == "auto":
        yield ("change_feed",), f"unused: API {server.api_version} has no change feed"
    extras = server.sessions.extras
    if "statistics" in extras:
        place = ("sessions", "extras", extras.index("statistics"))
        yield place, f"unused: API {server.api_version} has no statistics"


def _unused_of_sessions(
    sessions: SessionsConfig, *, discover: bool
) -> Iterator[tuple[Location, str]]:
    for index, first in repetitions(sessions.ids):
        yield ("sessions", "ids", index), f"unused: the same as ids[{first}]"
    written = sessions.model_fields_set
    if not discover:
        message = "unused: only the sessions under ids are followed, as discover is false"
        for key in written & {"lookback", "max_series", "max_sessions"}:
            yield ("sessions", key), message
    elif "max_series" in written and sessions.max_series > sessions.max_sessions:
        yield ("sessions", "max_series"), "shadowed: max_sessions is lower"
    if sessions.extras and sessions.max_series == 0 and not sessions.ids:
        message = "unused: max_series is 0: no session has series of its own"
        yield ("sessions", "extras"), message


def _mistakes(server: ServerConfig) -> Iterator[tuple[Location, str]]:
    auth, proxy = server.auth, server.proxy_url
    mistakes: dict[Location, Iterator[str]] = {
        ("name",): _text_mistakes(server.name),
        ("url",): _url_mistakes(server.url),
        ("auth", "username"): _username_mistakes(auth.username or ""),
        ("auth", auth.secret_key): _secret_mistakes(auth),
    }
    for location, messages in mistakes.items():
        for message in messages:
            yield location, message
    if proxy is not None and looks_like_variable(proxy.reveal()):
        yield ("proxy_url",), _VARIABLE


def _exposures(server: ServerConfig, file: Path | None) -> Iterator[tuple[Location, str]]:
    """Yield the files with a secret that every user can read; `file` is the configuration itself."""
    auth, proxy = server.auth, server.proxy_url
    files: dict[Location, Path | None] = {
        ("auth", auth.secret_key): file if auth.secret.is_inline else auth.secret.file,
        ("proxy_url",): file if proxy is not None and proxy.has_secret else None,
        ("tls_config", "key_file"): server.tls_config.key_file,
    }
    for location, path in files.items():
        if path is not None and is_readable_by_everybody(path):
            yield location, f"{path} can be read by every user"


def _url_mistakes(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.port is None:
        yield f"has no port, so {_HTTPS_PORT} is used; VB365 serves its REST API on {_API_PORT}"
    elif parts.port == _HTTPS_PORT:
        yield f"has port {_HTTPS_PORT}; VB365 itself serves its REST API on {_API_PORT}"
    if _API_PATH.match(parts.path):
        yield "has the path of an API version or /swagger; remove it, the exporter adds the version"
    elif parts.path:
        yield "has a path; VB365 itself serves its REST API without one"
    if why := why_unreachable(parts.hostname or ""):
        yield why


def _text_mistakes(text: str) -> Iterator[str]:
    if looks_like_variable(text):
        yield _VARIABLE
    if is_quoted(text):
        yield f"{_QUOTED} value"


def _username_mistakes(username: str) -> Iterator[str]:
    yield from _text_mistakes(username)
    if "\\\\" in username:
        yield _DOUBLED_BACKSLASH


def _secret_mistakes(auth: AuthConfig) -> Iterator[str]:
    try:
        whole = auth.secret.read_whole()
    except SecretUnavailableError:  # unreadable since validation; the next login reports it
        return
    secret = without_line_break(whole)
    if secret != whole and auth.secret.file is None:
        yield "ends with a line break, which is dropped"
    if looks_like_variable(secret):
        yield f"{_VARIABLE}; {auth.kind}_env takes a variable's name"
    if is_quoted(secret):
        yield f"{_QUOTED} {auth.kind}"
    if "\\\\" in secret:
        yield _DOUBLED_BACKSLASH
    if secret != secret.strip(" "):
        yield f"starts or ends with a space, which is part of the {auth.kind}"
    if (invisible := invisible_character(secret)) is not None:
        yield f"contains {describe(invisible)}, which is invisible"
