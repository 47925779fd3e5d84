"""Reads one value of the file each: a function for the exporter, a JSON Schema for editors."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from exporter.config.durations import DURATION_PATTERN, parse_duration
from exporter.config.secrets import SecretSource, SecretUrl

__all__ = [
    "Reader",
    "choice",
    "duration",
    "environment_name",
    "flag",
    "host_name",
    "inline_secret",
    "printable",
    "session_id",
    "url_of_proxy",
    "url_of_server",
    "whole_number",
]

_LONGEST_TEXT = 4096
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash


class Reader:
    """Annotates a key with the function that reads its value, and with that value's JSON Schema.

    The function raises ValueError with a message that does not repeat the value.
    """

    def __init__(self, read: Callable[[object], object], schema: Mapping[str, object]) -> None:
        self.read = read
        self.schema = schema

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        return dict(self.schema)


def duration(shortest: str, longest: str) -> Reader:
    """A Prometheus duration within bounds, to seconds."""
    low, high = parse_duration(shortest), parse_duration(longest)

    def read(value: object) -> float:
        _refuse_nothing(value)
        # Nobody knows the unit of a bare number.
        seconds = parse_duration(value if isinstance(value, str) else "")
        if not low <= seconds <= high:
            raise ValueError(f"must be from {shortest} to {longest}")
        return seconds

    return Reader(read, {"type": "string", "pattern": DURATION_PATTERN})


def whole_number(low: int, high: int) -> Reader:
    """A number without fraction within bounds; a truth value is none."""

    def read(value: object) -> int:
        _refuse_nothing(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return Reader(read, {"type": "integer", "minimum": low, "maximum": high})


def choice(options: object) -> Reader:
    """One of the words of a Literal type."""
    words = get_args(options)

    def read(value: object) -> str:
        _refuse_nothing(value)
        for word in words:
            if value == word:
                return str(word)
        raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")

    return Reader(read, {"type": "string", "enum": list(words)})


def _read_flag(value: object) -> bool:
    _refuse_nothing(value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


flag = Reader(_read_flag, {"type": "boolean"})
"""true or false."""


def printable(longest: int = _LONGEST_TEXT) -> Reader:
    """Text of one line without spaces at its ends."""

    def read(value: object) -> str:
        text = _text(value)
        if len(text) > longest:
            raise ValueError(f"must have at most {longest} characters")
        if not text.isprintable() or text != text.strip():
            raise ValueError("must not have control characters, nor spaces at its ends")
        return text

    return Reader(read, {"type": "string", "minLength": 1, "maxLength": longest})


def _read_host_name(value: object) -> str:
    host = _text(value)
    if not _is_host(host):
        raise ValueError("must be a host name or an IP address")
    return host.lower()


host_name = Reader(_read_host_name, {"type": "string", "minLength": 1})
"""A host name or IP address, to lower case."""


def _read_session_id(value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID such as 635b22cf-9cdc-4004-9160-9b90f90f1bbf")
    return text


session_id = Reader(
    _read_session_id,
    {"type": "string", "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"},
)
"""A hyphenated UUID, to lower case."""


def _read_environment_name(value: object) -> str:
    name = _text(value)
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable")
    return name


environment_name = Reader(
    _read_environment_name, {"type": "string", "pattern": f"^{_VARIABLE.pattern}$"}
)
"""The name of an environment variable."""


def inline_secret(*, bearer: bool) -> Reader:
    """A secret in the file itself; from here on it is masked."""
    return Reader(
        lambda value: SecretSource(value=_text(value), bearer=bearer),
        {"type": "string", "minLength": 1},
    )


def _read_server_url(value: object) -> str:
    parts = _split_url(value, "https://")
    if "@" in parts.netloc:
        raise ValueError("must not have user information; the login belongs under auth")
    return f"https://{parts.netloc.lower()}{parts.path.rstrip('/')}"


url_of_server = Reader(
    _read_server_url, {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^?#@]+$"}
)
"""The root of the API: https, host, perhaps a port and a path; without the slash at the end."""


def _read_proxy_url(value: object) -> SecretUrl:
    parts = _split_url(value, "http://", "https://")
    if parts.path.strip("/"):
        raise ValueError("must not have a path")
    return SecretUrl(parts._replace(path="").geturl())


url_of_proxy = Reader(
    _read_proxy_url, {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^?#]+$"}
)
"""A proxy, perhaps with user information."""


def _split_url(value: object, *starts: str) -> SplitResult:
    """Parts of a URL; the messages never repeat it, as it may hold a password."""
    url = _text(value)
    if not url.lower().startswith(starts):
        raise ValueError(f"must start with {' or '.join(starts)}")
    if not _URL_CHARACTERS.fullmatch(url) or len(url) > _LONGEST_TEXT:
        raise ValueError("must be a URL of ASCII characters without spaces; encode others as %XX")
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or fragment; write ? as %3F and # as %23")
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0 or parts.netloc.endswith(":")
        host = parts.hostname or ""
    except ValueError:
        # Its words hold parts of the URL.
        port_is_wrong, host = True, ""
    if port_is_wrong:
        raise ValueError(
            "must be a URL whose port is a number from 1 to 65535; "
            "a password with special characters needs them as %XX"
        )
    if not _is_host(host):
        raise ValueError("must be a URL with a host name or an IP address")
    return parts


def _is_host(text: str) -> bool:
    if ":" not in text:
        return _HOST.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    _refuse_nothing(value)
    if not isinstance(value, str):
        # pydantic collects ValueErrors
        raise ValueError("must be text; put it in quotes")  # noqa: TRY004
    if not value:
        raise ValueError("is empty")
    return value


def _refuse_nothing(value: object) -> None:
    if value is None:
        raise ValueError("has no value; give it one or remove the key")
