"""Reads a web configuration file, with all its problems at once."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.config.files import LoadContext
from exporter.config.loader import validate_blocks
from exporter.config.problems import ConfigError, Problem, ProblemCollector
from exporter.config.yaml_file import read_document
from exporter.web.webconfig.context import server_tls
from exporter.web.webconfig.model import HEADERS, HTTPBlock, RateLimitBlock, ServerTLSBlock, WebFile
from exporter.web.webconfig.watch import FileWatcher

__all__ = ["LoadResult", "RateLimit", "WebConfig", "check_lines", "read_web_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests are answered: one per interval, and a burst of so many at once."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What a web configuration file asks for; without one, nothing."""

    tls: ssl.SSLContext | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """Who may ask, and the bcrypt hash of the password; nobody: everybody may."""
    headers: tuple[tuple[str, str], ...] = ()
    rate_limit: RateLimit | None = None

    @property
    def protections(self) -> frozenset[str]:
        """What keeps strangers out."""
        asked = {
            "TLS": self.tls is not None,
            "client certificates": self.tls is not None
            and self.tls.verify_mode == ssl.CERT_REQUIRED,
            "basic authentication": bool(self.users),
        }
        return frozenset(name for name, is_on in asked.items() if is_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What came of reading a file: a configuration or its problems, and what to look at again."""

    config: WebConfig | None
    problems: tuple[Problem, ...]
    watch: FileWatcher


def read_web_config(path: Path) -> LoadResult:
    """Read the file and those that it names; an empty one asks for nothing."""
    watch = FileWatcher()
    try:
        config = _config(watch.add(path), watch)
    except ConfigError as error:
        return LoadResult(config=None, problems=error.problems, watch=watch)
    return LoadResult(config=config, problems=(), watch=watch)


def check_lines(path: Path) -> tuple[str, ...]:
    """What `--config.check` prints of the file: a line per problem."""
    return tuple(map(str, read_web_config(path).problems))


def _config(path: Path, watch: FileWatcher) -> WebConfig:
    document, problems = read_document(path)
    if document is None:
        return WebConfig()
    if not isinstance(document, dict):
        raise ConfigError(
            [Problem(str(path), "must be a mapping of keys such as basic_auth_users")]
        )
    context = LoadContext(directory=path.parent, environ={})
    file = validate_blocks(WebFile, document, problems, context)
    tls = None
    if (block := file.tls_server_config) is not None and block != ServerTLSBlock():
        tls = server_tls(block, path.parent, watch, problems)
    headers = _headers(file.http_server_config or HTTPBlock(), problems)
    limit = _rate_limit(file.rate_limit or RateLimitBlock(), problems)
    users = _users(file.basic_auth_users or {}, problems)
    if problems.found:
        raise ConfigError(problems.found)
    return WebConfig(tls=tls, users=users, headers=headers, rate_limit=limit)


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
        problems.report(("rate_limit", "burst"), "must be at least 1, or nothing is answered")
    return RateLimit(interval_seconds=block.interval, burst=block.burst or 0)


def _users(given: Mapping[str, bytes], problems: ProblemCollector) -> Mapping[bytes, bytes]:
    for name in given:
        if ":" in name:
            message = "a user name with a colon cannot be sent"
            problems.report(("basic_auth_users", name), message)
    return {name.encode(errors="surrogatepass"): hashed for name, hashed in given.items()}
