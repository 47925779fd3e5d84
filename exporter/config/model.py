"""The configuration: its keys, their values and defaults, and their descriptions for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from exporter.config.problems import Problem
from exporter.config.secrets import SecretSource, SecretUrl
from exporter.config.types import (
    api_url,
    boolean,
    derived,
    duration,
    environment_name,
    file_path,
    host_name,
    inline_secret,
    printable,
    proxy,
    secret_file,
    secret_variable,
    session_id,
    whole_number,
)
from exporter.text import format_duration

ApiVersionChoice = Literal["auto", "v6", "v7", "v8"]
ChangeFeed = Literal["auto", "never"]
Extra = Literal["statistics", "events"]
InfoLabel = Literal["name", "initiated_by", "client_host", "scope_name", "reason", "details"]

SECRET_KEYS = ("password", "password_file", "password_env", "token", "token_file", "token_env")
"""The keys under `auth`, of which exactly one is required; the first three need a user name."""


def default_stale_after(poll_interval: float) -> float:
    """Return the default of `stale_after`: 3 poll intervals, but at least 3 minutes."""
    return max(3 * poll_interval, 180.0)


class Block(BaseModel):
    """A mapping of the file; unknown keys are errors.

    Every key has a default, so that a missing key does not hide the problems of the others; `resolve`
    reports missing keys. `model_fields_set` has the keys that are in the file. Editors show a key's
    docstring, and its default unless the docstring explains it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _fill_blank(cls, value: object, info: ValidationInfo) -> object:
        """Let a block or list without content (`ids:`) mean an empty one."""
        default = cls.model_fields[str(info.field_name)].default
        return default if value is None and isinstance(default, Block | tuple) else value


def _one_of(keys: tuple[str, ...]) -> JsonValue:
    """Return the `oneOf` of a block that has exactly one of these keys."""
    return [{"required": [key]} for key in keys]


class AuthConfig(Block):
    """How to log in: user name and password, or a bearer token. Exactly one secret is given."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": _one_of(SECRET_KEYS),
            "dependentSchemas": {"username": {"oneOf": _one_of(SECRET_KEYS[:3])}},
            "dependentRequired": {key: ["username"] for key in SECRET_KEYS[:3]},
        }
    )

    username: Annotated[str | None, printable(256)] = Field(
        default=None, examples=["CONTOSO\\svc-monitoring"]
    )
    """Account that may read restore sessions. Not with a token."""
    password: Annotated[SecretSource | None, inline_secret()] = None
    """The password itself. Prefer password_file."""
    password_file: Annotated[SecretSource | None, printable(), secret_file(bearer=False)] = None
    """File with the password. A relative path is looked up in $CREDENTIALS_DIRECTORY, then beside
    this file. It is read again for each login.
    """
    password_env: Annotated[
        SecretSource | None, environment_name, secret_variable(bearer=False)
    ] = None
    """Environment variable with the password."""
    token: Annotated[SecretSource | None, inline_secret(bearer=True)] = None
    """A bearer token. Prefer token_file, as tokens expire."""
    token_file: Annotated[SecretSource | None, printable(), secret_file(bearer=True)] = None
    """File with a bearer token that something else renews. It is read again when the server refuses the token."""
    token_env: Annotated[SecretSource | None, environment_name, secret_variable(bearer=True)] = None
    """Environment variable with a bearer token."""

    @property
    def kind(self) -> Literal["password", "token"]:
        """Whether the secret is a password or a bearer token."""
        return "token" if self.secret_key.startswith("token") else "password"

    @property
    def secret(self) -> SecretSource:
        """The password or token, wherever it comes from."""
        secret: SecretSource = getattr(self, self.secret_key)
        return secret

    @property
    def secret_key(self) -> str:
        """The key that has the secret."""
        return next(key for key in SECRET_KEYS if getattr(self, key) is not None)

    @field_serializer(*SECRET_KEYS, when_used="unless-none")
    def _show(self, secret: SecretSource) -> str:
        return secret.shown


class TLSConfig(Block):
    """How the server's certificate is verified, and which one the exporter presents."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"cert_file": ["key_file"], "key_file": ["cert_file"]}
        }
    )

    ca_file: Annotated[Path | None, printable(), file_path] = None
    """Certificates (PEM) of the authorities to trust instead of the system's."""
    cert_file: Annotated[Path | None, printable(), file_path] = None
    """Client certificate (PEM) to present to the server."""
    key_file: Annotated[Path | None, printable(), file_path] = None
    """Private key (PEM) of cert_file, without a passphrase."""
    server_name: Annotated[str | None, host_name] = None
    """Name to expect in the server's certificate instead of the host of url."""
    insecure_skip_verify: Annotated[bool, boolean] = False
    """Accept any certificate. This is logged, and shown in vb365_server_tls_verified."""


class SessionsConfig(Block):
    """Which restore sessions are followed, how long and how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["discover"], "properties": {"discover": {"const": False}}},
            "then": {"required": ["ids"], "properties": {"ids": {"type": "array", "minItems": 1}}},
        }
    )

    ids: tuple[Annotated[str, session_id], ...] = ()
    """Ids of restore sessions that are always followed."""
    discover: Annotated[bool, boolean] = True
    """Follow every session that the account can see. Default: true when ids is empty."""
    lookback: Annotated[float, duration("1s", "3650d")] = 7 * 86_400.0
    """How long a discovered session is kept after it ended."""
    max_series: Annotated[int, whole_number(0, 1_000_000)] = 1_000
    """Maximum number of sessions of this server with series of their own."""
    max_sessions: Annotated[int, whole_number(1, 10_000_000)] = 200_000
    """Maximum number of sessions to keep; the oldest finished ones are evicted first. It also limits the number of
    organizations, to at most 2000.
    """
    extras: tuple[Extra, ...] = Field(default=(), json_schema_extra={"uniqueItems": True})
    """Additional data to fetch, at one request each per running session and poll: statistics (API v8), events."""


class ServerConfig(Block):
    """One VB365 server."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["url", "auth"],
            "not": {
                "required": ["proxy_url", "proxy_from_environment"],
                "properties": {"proxy_from_environment": {"const": True}},
            },
        }
    )

    name: Annotated[str, printable(128)] = ""
    """Value of the server label. Default: the host of url."""
    url: Annotated[str, api_url] = Field(default="", examples=["https://vb365.example.com:4443"])
    """Root of the REST API, https only."""
    api_version: ApiVersionChoice = "auto"
    """Version of the API; auto selects the newest that the server serves."""
    poll_interval: Annotated[float, duration("1s", "1d")] = 60.0
    """How often this server is polled. Default: the global poll_interval."""
    stale_after: Annotated[float, derived(format_duration)] = default_stale_after(60.0)
    """The global stale_after if the file has it, else the default for this server's poll_interval."""
    auth: AuthConfig = AuthConfig()
    """How to log in."""
    tls_config: TLSConfig = TLSConfig()
    """Certificates; verification is on by default."""
    proxy_url: Annotated[SecretUrl | None, proxy] = None
    """HTTP proxy, optionally with user:password@. Not with proxy_from_environment."""
    proxy_from_environment: Annotated[bool, boolean] = False
    """Use the proxy of HTTPS_PROXY and NO_PROXY."""
    timeout: Annotated[float, duration("100ms", "5m")] = 10.0
    """Timeout of connecting and of each read; a whole request takes at most 6 times as long."""
    max_concurrent_requests: Annotated[int, whole_number(1, 64)] = 8
    """Maximum number of concurrent requests."""
    change_feed: ChangeFeed = "auto"
    """Long-poll feed of changes (VB365 8); auto uses it where the server has one."""
    sessions: SessionsConfig = SessionsConfig()
    """Which restore sessions are followed."""


class Config(Block):
    """Configuration of vb365-restore-exporter."""

    model_config = ConfigDict(json_schema_extra={"required": ["servers"]})

    poll_interval: Annotated[float, duration("1s", "1d")] = 60.0
    """How often each server is polled. Polls of several servers are spread over it."""
    stale_after: Annotated[float, duration("1s", "30d")] = default_stale_after(60.0)
    """Data older than this is no longer exposed. It must exceed poll_interval.
    Default: 3 x poll_interval, but at least 3m.
    """
    info_labels: tuple[InfoLabel, ...] = Field(default=(), json_schema_extra={"uniqueItems": True})
    """Personal data to show as labels of vb365_restore_session_info."""
    servers: tuple[ServerConfig, ...] = Field(default=(), json_schema_extra={"minItems": 1})
    """The VB365 servers to poll."""
    warnings: Annotated[tuple[Problem, ...], derived()] = Field(
        default=(), exclude=True, repr=False
    )
    """Settings in the file without effect, and values that are probably mistakes."""


def masked_yaml(config: Config) -> str:
    """Return the configuration in force, defaults included, as YAML with every secret masked.

    Keys without a value are left out. A server shows its `stale_after` if it differs from the global
    one, although the file cannot have that key.
    """
    shown = config.model_dump(mode="json", exclude_none=True)
    for server in shown["servers"]:
        if server["stale_after"] == shown["stale_after"]:
            del server["stale_after"]
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=2**16)
