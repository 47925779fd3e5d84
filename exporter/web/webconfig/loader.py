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
from exporter.web.webconfig.context import ContextBuilder
from exporter.web.webconfig.model import (
    HEADERS,
    HTTPBlock,
    RateLimitBlock,
    ServerTLSBlock,
    WebFile,
    replaced_values,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """The settings of a web configuration file; the defaults apply without a file."""

    tls: ssl.SSLContext | None = None
    tls_block: ServerTLSBlock = field(default_factory=ServerTLSBlock)
    """The settings of `tls`; files that they name may have changed since."""
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """User names and the bcrypt hashes of their passwords; empty: no authentication."""
    headers: tuple[tuple[str, str], ...] = ()
    rate_limit: RateLimitBlock | None = None
    warnings: tuple[Problem, ...] = ()
    """Settings that have no effect, without the loss of a protection."""
    certificate_problems: tuple[Problem, ...] = ()
    """Why `tls` is that of the previous configuration: its certificate or key cannot be loaded now."""

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
    path: Path,
    before_reading: Callable[[Path], None] = lambda _path: None,
    previous: WebConfig | None = None,
) -> WebConfig:
    """Read a web configuration file and the files that it names; an empty file sets nothing.

    Args:
        path: the web configuration file.
        before_reading: called with the path of each file before it is read.
        previous: the configuration in force. If its TLS settings are unchanged, it is used as long as the certificate
            and its key cannot be loaded: they are renewed one after the other, or do not match until a restart.

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
    block = file.tls_server_config
    builder = ContextBuilder(block=block, path_of=path_of, problems=problems)
    tls: ssl.SSLContext | None = builder.build() if block != ServerTLSBlock() else None
    for location, message in replaced_values(file):
        builder.warnings.report(location, message)
    users = _users(file.basic_auth_users or {}, problems)
    headers = _headers(file.http_server_config, problems)
    limit = file.rate_limit
    if limit.interval and not limit.burst and not problems.is_invalid(("rate_limit", "burst")):
        problems.report(("rate_limit", "burst"), "must be at least 1, or every request is rejected")
    unusable = builder.certificate_problems.found
    if unusable and previous is not None and previous.tls_block == block:
        tls = previous.tls
    else:
        problems.found.extend(unusable)
    if problems.found:
        raise problems.error()
    return WebConfig(
        tls=tls,
        tls_block=block,
        users=users,
        headers=headers,
        rate_limit=limit if limit.interval else None,
        warnings=tuple(builder.warnings.found),
        certificate_problems=tuple(unusable),
    )


def _headers(block: HTTPBlock, problems: ProblemCollector) -> tuple[tuple[str, str], ...]:
    given = {name: value for name, value in (block.headers or {}).items() if value is not None}
    for name, value in given.items():
        place = ("http_server_config", "headers", name)
        if name not in HEADERS:
            problems.report(place, f"cannot be set; only {', '.join(HEADERS)} can")
        elif HEADERS[name] and value not in HEADERS[name]:
            problems.report(place, f"must be {' or '.join(HEADERS[name])}")
    return tuple(given.items())


def _users(given: Mapping[str, bytes], problems: ProblemCollector) -> Mapping[bytes, bytes]:
    for name in given:
        if ":" in name:
            problems.report(("basic_auth_users", name), "a user name with a colon cannot be sent")
    return {name.encode(errors="surrogatepass"): hashed for name, hashed in given.items()}
