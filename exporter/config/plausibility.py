"""Finds valid values that are probably mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from exporter.config.characters import (
    NOT_REPLACED,
    described,
    invisible_character,
    is_quoted,
    names_a_variable,
)
from exporter.config.files import is_readable_by_everybody
from exporter.config.model import SECRET_KEYS, AuthConfig, Config, ServerConfig, TLSConfig
from exporter.config.problems import Location, Problem, dotted
from exporter.config.secrets import SecretSource, SecretUnavailableError, without_line_break
from exporter.config.urls import unreachable

__all__ = ["probable_mistakes"]

_API_PORT = 4443
_HTTPS_PORT = 443
_API_PATH = re.compile(r"/(v[0-9]+|swagger)(/|$)", re.IGNORECASE)
_DOUBLED_BACKSLASH = r"has a doubled backslash; YAML reads \\ as one only in double quotes"


def probable_mistakes(file: Config) -> tuple[Problem, ...]:
    """Return a problem for each value of a valid file that is probably not what was meant; none shows a secret."""
    return tuple(
        Problem(dotted(("servers", index, *location)), message)
        for index, server in enumerate(file.servers)
        for location, message in _of_server(server)
    )


def _of_server(server: ServerConfig) -> Iterator[tuple[Location, str]]:
    for message in _of_text(server.name):
        yield ("name",), message
    for message in _of_url(server.url):
        yield ("url",), message
    for location, message in _of_auth(server.auth):
        yield ("auth", *location), message
    if server.proxy_url is not None and names_a_variable(server.proxy_url.reveal()):
        yield ("proxy_url",), f"looks like a variable; {NOT_REPLACED}"
    for location, message in _of_tls_config(server.tls_config):
        yield ("tls_config", *location), message


def _of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.port is None:
        yield f"has no port, so that {_HTTPS_PORT} is used; VB365 serves its REST API on {_API_PORT}"
    elif parts.port == _HTTPS_PORT:
        yield f"has port {_HTTPS_PORT}; VB365 itself serves its REST API on {_API_PORT}"
    if _API_PATH.match(parts.path):
        yield "has the path of an API version or of its documentation, which the exporter adds itself; remove it"
    elif parts.path:
        yield "has a path; VB365 itself serves its REST API without one"
    if why := unreachable(parts.hostname or ""):
        yield why


def _of_auth(auth: AuthConfig) -> Iterator[tuple[Location, str]]:
    for message in _of_text(auth.username or ""):
        yield ("username",), message
    if "\\\\" in (auth.username or ""):
        yield ("username",), _DOUBLED_BACKSLASH
    key = next(key for key in SECRET_KEYS if getattr(auth, key) is not None)
    for message in _of_secret(auth.secret, auth.kind):
        yield (key,), message


def _of_text(text: str) -> Iterator[str]:
    if names_a_variable(text):
        yield f"looks like a variable; {NOT_REPLACED}"
    if is_quoted(text):
        yield "starts and ends with quotes, which are part of the value"


def _of_secret(source: SecretSource, kind: str) -> Iterator[str]:
    try:
        whole = source.read_whole()
    except SecretUnavailableError:  # since it was checked; the next login reports it
        return
    secret = without_line_break(whole)
    if secret != whole and source.file is None:
        yield "ends with a line break, which is dropped"
    if names_a_variable(secret):
        yield f"looks like a variable; {NOT_REPLACED}, but {kind}_env takes the name of one"
    if is_quoted(secret):
        yield f"starts and ends with quotes, which are part of the {kind}"
    if "\\\\" in secret:
        yield _DOUBLED_BACKSLASH
    if secret != secret.strip(" "):
        yield "starts or ends with a space"
    if (invisible := invisible_character(secret)) is not None:
        yield f"contains {described(invisible)}, which is invisible"
    if source.file is not None and is_readable_by_everybody(source.file):
        yield f"{source.file} can be read by every user"


def _of_tls_config(tls: TLSConfig) -> Iterator[tuple[Location, str]]:
    if tls.key_file is not None and is_readable_by_everybody(tls.key_file):
        yield ("key_file",), f"{tls.key_file} can be read by every user"
