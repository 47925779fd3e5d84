"""What may be written in the file: its keys, their values, and what editors say about them.

Every key may be left out here, so that one missing or wrong value does not hide the problems of the
others; `resolve` knows what is needed. A block or list without content (`ids:`) is an empty one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from exporter.config.model import ApiVersionChoice, ChangeFeed, Extra, InfoLabel
from exporter.config.secrets import SecretSource, SecretUrl
from exporter.config.types import (
    choice,
    duration,
    environment_name,
    flag,
    host_name,
    inline_secret,
    printable,
    session_id,
    url_of_proxy,
    url_of_server,
    whole_number,
)

__all__ = [
    "SECRET_KEYS",
    "AuthBlock",
    "Block",
    "ConfigFile",
    "ServerBlock",
    "SessionsBlock",
    "TLSBlock",
    "keys_below",
]

SECRET_KEYS = ("password", "password_file", "password_env", "token", "token_file", "token_env")
"""The keys under `auth` of which exactly one is given; the first three go with a user name."""

_path = printable()


def _key(description: str, **schema: JsonValue) -> Any:
    """A key that is None when it is not written.

    Args:
        description: what editors show.
        schema: more of the JSON Schema than the value's own, such as examples.
    """
    return Field(default=None, description=description, json_schema_extra=schema)


class Block(BaseModel):
    """A mapping of the file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _one_of(keys: Sequence[str]) -> JsonValue:
    """JSON Schema of a block that has exactly one of these keys."""
    return [{"required": [key]} for key in keys]


class AuthBlock(Block):
    """How to log in: user name and password, or a bearer token. Exactly one secret is given."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": _one_of(SECRET_KEYS),
            "dependentSchemas": {"username": {"oneOf": _one_of(SECRET_KEYS[:3])}},
            "dependentRequired": {key: ["username"] for key in SECRET_KEYS[:3]},
        }
    )

    username: Annotated[str | None, printable(256)] = _key(
        "Account that may read restore sessions. Not with a token.",
        examples=["CONTOSO\\svc-monitoring"],
    )
    password: Annotated[SecretSource | None, inline_secret(bearer=False)] = _key(
        "The password itself. password_file is the better place."
    )
    password_file: Annotated[str | None, _path] = _key(
        "File with the password. A relative path is looked up in $CREDENTIALS_DIRECTORY, then "
        "beside this file. It is read again when a login is refused."
    )
    password_env: Annotated[str | None, environment_name] = _key(
        "Environment variable with the password."
    )
    token: Annotated[SecretSource | None, inline_secret(bearer=True)] = _key(
        "A bearer token. token_file is the better place, as tokens expire."
    )
    token_file: Annotated[str | None, _path] = _key(
        "File with a bearer token that someone else renews; a 401 reads it again."
    )
    token_env: Annotated[str | None, environment_name] = _key(
        "Environment variable with a bearer token."
    )


class TLSBlock(Block):
    """How the server's certificate is verified, and which one the exporter shows."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {"cert_file": ["key_file"], "key_file": ["cert_file"]}
        }
    )

    ca_file: Annotated[str | None, _path] = _key(
        "Certificates (PEM) of the authorities to trust instead of the system's."
    )
    cert_file: Annotated[str | None, _path] = _key("Client certificate (PEM) to show the server.")
    key_file: Annotated[str | None, _path] = _key("Key (PEM) of cert_file, without a passphrase.")
    server_name: Annotated[str | None, host_name] = _key(
        "Name to expect in the server's certificate instead of the host of url."
    )
    insecure_skip_verify: Annotated[bool | None, flag] = _key(
        "Trust any certificate. It is logged, and shown in vb365_server_tls_verified."
    )


class SessionsBlock(Block):
    """Which restore sessions are followed, how long and how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["discover"], "properties": {"discover": {"const": False}}},
            "then": {"required": ["ids"], "properties": {"ids": {"type": "array", "minItems": 1}}},
        }
    )

    ids: tuple[Annotated[str, session_id], ...] | None = _key(
        "Restore sessions to follow in any case."
    )
    discover: Annotated[bool | None, flag] = _key(
        "Follow every session that the account can see. Default: true when ids is empty."
    )
    lookback: Annotated[float | None, duration("1s", "3650d")] = _key(
        "A discovered session leaves this long after it ended."
    )
    max_series: Annotated[int | None, whole_number(0, 1_000_000)] = _key(
        "Most sessions of this server that get series of their own."
    )
    max_sessions: Annotated[int | None, whole_number(1, 10_000_000)] = _key(
        "Most sessions kept at all; the oldest finished ones are left out first."
    )
    extras: tuple[Annotated[Extra, choice(Extra)], ...] | None = _key(
        "More to ask for, one request per running session and poll each: statistics (API v8), "
        "events.",
        uniqueItems=True,
    )


class ServerBlock(Block):
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

    name: Annotated[str | None, printable(128)] = _key(
        "Value of the server label. Default: the host of url."
    )
    url: Annotated[str | None, url_of_server] = _key(
        "Root of the REST API, https only.", examples=["https://vb365.example.com:4443"]
    )
    api_version: Annotated[ApiVersionChoice | None, choice(ApiVersionChoice)] = _key(
        "Version of the API; auto picks the newest that the server serves."
    )
    poll_interval: Annotated[float | None, duration("1s", "1d")] = _key(
        "How often this server is asked. Default: the global poll_interval."
    )
    auth: AuthBlock | None = _key("How to log in.")
    tls_config: TLSBlock | None = _key("Certificates; verification is on by default.")
    proxy_url: Annotated[SecretUrl | None, url_of_proxy] = _key(
        "HTTP proxy, perhaps with user:password@. Not with proxy_from_environment."
    )
    proxy_from_environment: Annotated[bool | None, flag] = _key(
        "Use the proxy of HTTPS_PROXY and NO_PROXY."
    )
    timeout: Annotated[float | None, duration("100ms", "5m")] = _key(
        "For connecting, and for each read; a whole request takes at most 6 times as long."
    )
    max_concurrent_requests: Annotated[int | None, whole_number(1, 64)] = _key(
        "Most requests at a time."
    )
    change_feed: Annotated[ChangeFeed | None, choice(ChangeFeed)] = _key(
        "The long-poll feed of changes that VB365 8 has; auto uses it where there is one."
    )
    sessions: SessionsBlock | None = _key("Which restore sessions are followed.")


class ConfigFile(Block):
    """Configuration of vb365-restore-exporter."""

    model_config = ConfigDict(json_schema_extra={"required": ["servers"]})

    poll_interval: Annotated[float | None, duration("1s", "1d")] = _key(
        "How often each server is asked. Polls of several servers are spread over it."
    )
    stale_after: Annotated[float | None, duration("1s", "30d")] = _key(
        "Data older than this is no longer exposed. It must exceed poll_interval. "
        "Default: 3 x poll_interval, but at least 3m."
    )
    info_labels: tuple[Annotated[InfoLabel, choice(InfoLabel)], ...] | None = _key(
        "Personal data to show as labels of vb365_restore_session_info.", uniqueItems=True
    )
    servers: tuple[ServerBlock, ...] | None = _key("The VB365 servers to ask.", minItems=1)


def keys_below(block: type[Block], place: str = "") -> Iterator[tuple[str, str]]:
    """Every (place of a block, key in it), list indices left out: `("servers[].auth", "token")`."""
    for key, field in block.model_fields.items():
        yield place, key
        for inner in _blocks_in(field.annotation):
            dots = f"{place}.{key}" if place else key
            yield from keys_below(inner, dots if _is_block(field.annotation) else f"{dots}[]")


def _is_block(annotation: object) -> bool:
    """Tell a block from a list of them."""
    return any(isinstance(arg, type) and issubclass(arg, Block) for arg in get_args(annotation))


def _blocks_in(annotation: object) -> Iterator[type[Block]]:
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
    for argument in get_args(annotation):
        yield from _blocks_in(argument)
