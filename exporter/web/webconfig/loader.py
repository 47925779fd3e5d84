"""Reads a web configuration file, and collects all its problems."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config.files import LoadContext
from exporter.config.loader import validate_blocks
from exporter.config.problems import ConfigError, Problem, ProblemCollector
from exporter.config.yaml_file import read_document
from exporter.web.webconfig.context import server_context
from exporter.web.webconfig.model import HEADERS, HTTPBlock, RateLimitBlock, ServerTLSBlock, WebFile


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """The limit for all requests together: a burst of this many, then one per interval."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """The settings of a web configuration file; the defaults apply without a file."""

    tls: ssl.SSLContext | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """User names and the bcrypt hashes of their passwords; empty: no authentication."""
    headers: tuple[tuple[str, str], ...] = ()
    rate_limit: RateLimit | None = None

    @property
    def protections(self) -> frozenset[str]:
        """The names of the protections that the settings enable."""
        enabled = {
            "TLS": self.tls is not None,
            "client certificates": self.tls is not None
            and self.tls.verify_mode == ssl.CERT_REQUIRED,
            "basic authentication": bool(self.users),
        }
        return frozenset(name for name, is_enabled in enabled.items() if is_enabled)


def read_web_config(
    path: Path, before_reading: Callable[[Path], None] = lambda _path: None
) -> WebConfig:
    """Read a web configuration file and the files that it names; an empty file sets nothing.

    Args:
        path: the web configuration file.
        before_reading: called with the path of each file before it is read.

    Raises:
        ConfigError: the file cannot be used.
    """

    def path_of(name: str) -> Path:
        file = path.parent / name
        before_reading(file)
        return file

    before_reading(path)
    document, problems = read_document(path)
    if not isinstance(document, dict | None):
        raise ConfigError(
            [Problem(str(path), "must be a mapping of keys such as basic_auth_users")]
        )
    context = LoadContext(directory=path.parent, environ={})
    file = validate_blocks(WebFile, document or {}, problems, context)
    tls = None
    if file.tls_server_config != ServerTLSBlock():
        tls = server_context(file.tls_server_config, path_of, problems)
    config = WebConfig(
        tls=tls,
        users=_users(file.basic_auth_users or {}, problems),
        headers=_headers(file.http_server_config, problems),
        rate_limit=_rate_limit(file.rate_limit, problems),
    )
    if problems.found:
        raise problems.error()
    return config


def check_lines(path: Path) -> tuple[str, ...]:
    """Return the problems of a web configuration file for `--config.check`, a line each."""
    try:
        read_web_config(path)
    except ConfigError as error:
        return tuple(map(str, error.problems))
    return ()


def _headers(block: HTTPBlock, problems: ProblemCollector) -> tuple[tuple[str, str], ...]:
    given = {name: value for name, value in (block.headers or {}).items() if value is not None}
    for name, value in given.items():
        place = ("http_server_config", "headers", name)
        if name not in HEADERS:
            problems.report(place, f"cannot be set; only {', '.join(HEADERS)} can")
        elif HEADERS[name] and value not in HEADERS[name]:
            problems.report(place, f"must be {' or '.join(HEADERS[name])}")
    return tuple(given.items())


def _rate_limit(block: RateLimitBlock, problems: ProblemCollector) -> RateLimit | None:
    if not block.interval:
        return None
    if not block.burst and not problems.is_invalid(("rate_limit", "burst")):
        problems.report(("rate_limit", "burst"), "must be at least 1, or every request is rejected")
    return RateLimit(interval_seconds=block.interval, burst=block.burst or 0)


def _users(given: Mapping[str, bytes], problems: ProblemCollector) -> Mapping[bytes, bytes]:
    for name in given:
        if ":" in name:
            problems.report(("basic_auth_users", name), "a user name with a colon cannot be sent")
    return {name.encode(errors="surrogatepass"): hashed for name, hashed in given.items()}
