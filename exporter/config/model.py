"""The configuration in force: every default resolved, every path absolute, every secret masked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from exporter.config.problems import Problem
from exporter.config.secrets import SecretSource, SecretUrl

__all__ = [
    "ApiVersionChoice",
    "AuthConfig",
    "Config",
    "Extra",
    "InfoLabel",
    "ServerConfig",
    "SessionsConfig",
    "TLSConfig",
    "default_stale_after",
]

ApiVersionChoice = Literal["auto", "v6", "v7", "v8"]
ChangeFeed = Literal["auto", "never"]
Extra = Literal["statistics", "events"]
InfoLabel = Literal["name", "initiated_by", "client_host", "scope_name", "reason", "details"]

_DAY = 86_400.0


def default_stale_after(poll_interval: float) -> float:
    """Seconds after which data is too old when the file does not say: 3 polls, at least 3 min."""
    return max(3 * poll_interval, 180.0)


class _InForce(BaseModel):
    """Frozen values. Durations are seconds; attribute names are the file's keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AuthConfig(_InForce):
    """How to log in: user name and password, or a bearer token that someone else renews."""

    kind: Literal["password", "token"] = "password"
    username: str | None = None
    secret: SecretSource


class TLSConfig(_InForce):
    """How the server's certificate is verified, and which one the exporter shows."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False


class SessionsConfig(_InForce):
    """Which restore sessions are followed, how long and how many."""

    ids: tuple[str, ...] = ()
    discover: bool = True
    lookback: float = 7 * _DAY
    max_series: int = 1_000
    max_sessions: int = 200_000
    extras: tuple[Extra, ...] = ()


class ServerConfig(_InForce):
    """One VB365 server. `stale_after` is the file's, or the default for this `poll_interval`."""

    name: str
    url: str
    api_version: ApiVersionChoice = "auto"
    poll_interval: float = 60.0
    stale_after: float = default_stale_after(60.0)
    auth: AuthConfig
    tls_config: TLSConfig = TLSConfig()
    proxy_url: SecretUrl | None = None
    proxy_from_environment: bool = False
    timeout: float = 10.0
    max_concurrent_requests: int = 8
    change_feed: ChangeFeed = "auto"
    sessions: SessionsConfig = SessionsConfig()


class Config(_InForce):
    """The whole configuration; `warnings` are settings in the file that have no effect."""

    poll_interval: float = 60.0
    stale_after: float = default_stale_after(60.0)
    info_labels: tuple[InfoLabel, ...] = ()
    servers: tuple[ServerConfig, ...]
    warnings: tuple[Problem, ...] = Field(default=(), exclude=True, repr=False)
