"""Finds valid values that are probably mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from exporter.config.files import is_readable_by_everybody
from exporter.config.model import AuthConfig, Config, ServerConfig, TLSConfig
from exporter.config.problems import Location, Problem, dotted
from exporter.config.secrets import SecretSource, SecretUnavailableError, without_line_break
from exporter.config.suspicious_text import (
    NOT_EXPANDED,
    describe,
    invisible_character,
    is_quoted,
    looks_like_variable,
)
from exporter.config.urls import why_unreachable

__all__ = ["probable_mistakes"]

_API_PORT = 4443
_HTTPS_PORT = 443
_API_PATH = re.compile(r"/(v[0-9]+|swagger)(/|$)", re.IGNORECASE)
_VARIABLE = f"looks like a variable; {NOT_EXPANDED}"
_QUOTED = "starts and ends with quotes, which are part of the"
_DOUBLED_BACKSLASH = r"has a doubled backslash; YAML reads \\ as one only in double quotes"
_READABLE = "can be read by every user"


def probable_mistakes(config: Config, file: Path | None = None) -> tuple[Problem, ...]:
    """Return a problem for each valid value that is probably a mistake; no problem shows a secret.

    Args:
        config: the configuration.
        file: the file that it was loaded from, if any.
    """
    exposed_by = file if file is not None and is_readable_by_everybody(file) else None
    return tuple(
        Problem(dotted(("servers", index, *location)), message)
        for index, server in enumerate(config.servers)
        for location, message in (
            *_server_mistakes(server),
            *_exposed_secrets(server, exposed_by),
        )
    )


def _exposed_secrets(server: ServerConfig, file: Path | None) -> Iterator[tuple[Location, str]]:
    """Return the secrets in the configuration file itself, if every user can read that file."""
    if file is None:
        return
    if server.auth.secret.is_inline:
        yield ("auth", server.auth.secret_key), f"{file} {_READABLE}"
    if server.proxy_url is not None and server.proxy_url.has_secret:
        yield ("proxy_url",), f"{file} {_READABLE}"


def _server_mistakes(server: ServerConfig) -> Iterator[tuple[Location, str]]:
    for message in _text_mistakes(server.name):
        yield ("name",), message
    for message in _url_mistakes(server.url):
        yield ("url",), message
    for location, message in _auth_mistakes(server.auth):
        yield ("auth", *location), message
    if server.proxy_url is not None and looks_like_variable(server.proxy_url.reveal()):
        yield ("proxy_url",), _VARIABLE
    for location, message in _tls_mistakes(server.tls_config):
        yield ("tls_config", *location), message


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


def _auth_mistakes(auth: AuthConfig) -> Iterator[tuple[Location, str]]:
    for message in _text_mistakes(auth.username or ""):
        yield ("username",), message
    if "\\\\" in (auth.username or ""):
        yield ("username",), _DOUBLED_BACKSLASH
    for message in _secret_mistakes(auth.secret, auth.kind):
        yield (auth.secret_key,), message


def _text_mistakes(text: str) -> Iterator[str]:
    if looks_like_variable(text):
        yield _VARIABLE
    if is_quoted(text):
        yield f"{_QUOTED} value"


def _secret_mistakes(source: SecretSource, kind: str) -> Iterator[str]:
    try:
        whole = source.read_whole()
    except SecretUnavailableError:  # unreadable since validation; the next login reports it
        return
    secret = without_line_break(whole)
    if secret != whole and source.file is None:
        yield "ends with a line break, which is dropped"
    if looks_like_variable(secret):
        yield f"{_VARIABLE}; {kind}_env takes a variable's name"
    if is_quoted(secret):
        yield f"{_QUOTED} {kind}"
    if "\\\\" in secret:
        yield _DOUBLED_BACKSLASH
    if secret != secret.strip(" "):
        yield f"starts or ends with a space, which is part of the {kind}"
    if (invisible := invisible_character(secret)) is not None:
        yield f"contains {describe(invisible)}, which is invisible"
    if source.file is not None and is_readable_by_everybody(source.file):
        yield f"{source.file} {_READABLE}"


def _tls_mistakes(tls: TLSConfig) -> Iterator[tuple[Location, str]]:
    if tls.key_file is not None and is_readable_by_everybody(tls.key_file):
        yield ("key_file",), f"{tls.key_file} {_READABLE}"
