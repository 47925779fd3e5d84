"""The types of the file's values: how each is read, and its JSON Schema for editors."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticKnownError, PydanticOmit, core_schema

from exporter.config.durations import DURATION_PATTERN, format_duration, parse_duration
from exporter.config.files import LoadContext
from exporter.config.secrets import SecretSource, SecretUrl

__all__ = [
    "NO_VALUE",
    "Derived",
    "Reader",
    "duration",
    "environment_name",
    "file_path",
    "flag",
    "host_name",
    "inline_secret",
    "is_derived",
    "printable",
    "secret_file",
    "secret_variable",
    "session_id",
    "url_of_proxy",
    "url_of_server",
    "whole_number",
]

NO_VALUE = "has no value; give it one or remove the key"

_MAX_TEXT = 4096
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash


class Reader:
    """Annotates a key with the function that reads its value, and with that value's JSON Schema.

    Values are read when the validation context is a `LoadContext`, that is, when they come from a
    file. Values given by code are taken as they are: seconds instead of `1m30s`.

    Args:
        read: raises ValueError with a message that does not quote the value.
        schema: the JSON Schema of the value as it is written.
        show: turns the value into text when the configuration is shown.
    """

    def __init__(
        self,
        read: Callable[[object], object],
        schema: Mapping[str, object],
        *,
        show: Callable[[Any], str] | None = None,
    ) -> None:
        self.read = read
        self.schema = schema
        self._show = show

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        show = self._show and core_schema.plain_serializer_function_ser_schema(
            self._show, when_used="unless-none"
        )
        return core_schema.with_info_plain_validator_function(self._validate, serialization=show)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        return dict(self.schema)

    def _validate(self, value: object, info: ValidationInfo) -> object:
        return value if info.context is None else self.read(value)


def _reader(
    *, show: Callable[[Any], str] | None = None, **schema: object
) -> Callable[[Callable[[object], object]], Reader]:
    """Make a `Reader` of a function; its JSON Schema is given by keyword."""
    return lambda read: Reader(read, schema, show=show)


class Derived:
    """Annotates a value that follows from others; its key is unknown in the file."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def validate(value: object, info: ValidationInfo) -> object:
            if info.context is not None:
                raise PydanticKnownError("extra_forbidden")
            return value

        return core_schema.with_info_before_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        raise PydanticOmit


def is_derived(field: FieldInfo) -> bool:
    """Return whether the file cannot have the key."""
    return any(isinstance(annotation, Derived) for annotation in field.metadata)


def duration(shortest: str, longest: str) -> Reader:
    """Return the type of a Prometheus duration within bounds, in seconds."""
    low, high = parse_duration(shortest), parse_duration(longest)

    def read(value: object) -> float:
        _require_value(value)
        # A bare number would leave the unit open.
        seconds = parse_duration(value if isinstance(value, str) else "")
        if not low <= seconds <= high:
            raise ValueError(f"must be from {shortest} to {longest}")
        return seconds

    return Reader(read, {"type": "string", "pattern": DURATION_PATTERN}, show=format_duration)


def whole_number(low: int, high: int) -> Reader:
    """Return the type of a whole number within bounds; booleans are none."""

    def read(value: object) -> int:
        _require_value(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return Reader(read, {"type": "integer", "minimum": low, "maximum": high})


@_reader(type="boolean")
def flag(value: object) -> bool:
    """Read true or false."""
    _require_value(value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def printable(max_length: int = _MAX_TEXT) -> Reader:
    """Return the type of one line of text without spaces at its ends."""

    def read(value: object) -> str:
        text = _read_text(value)
        if len(text) > max_length:
            raise ValueError(f"must have at most {max_length} characters")
        if not text.isprintable() or text != text.strip():
            raise ValueError("must not contain control characters, or start or end with spaces")
        return text

    return Reader(read, {"type": "string", "minLength": 1, "maxLength": max_length})


@_reader(type="string", minLength=1)
def host_name(value: object) -> str:
    """Read a host name or IP address, to lower case."""
    host = _read_text(value)
    if not _is_host(host):
        raise ValueError("must be a host name or an IP address")
    return host.lower()


@_reader(type="string", pattern="^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
def session_id(value: object) -> str:
    """Read a hyphenated UUID, to lower case."""
    text = value.lower() if isinstance(value, str) else ""
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID such as 635b22cf-9cdc-4004-9160-9b90f90f1bbf")
    return text


@_reader(type="string", pattern=f"^{_VARIABLE.pattern}$")
def environment_name(value: object) -> str:
    """Read the name of an environment variable."""
    name = _read_text(value)
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable")
    return name


def inline_secret(*, bearer: bool) -> Reader:
    """Return the type of a secret in the file itself; from here on it is masked."""
    return Reader(
        lambda value: SecretSource(value=_read_text(value), bearer=bearer),
        {"type": "string", "minLength": 1},
    )


def _in_context(make: Callable[[str, LoadContext], object]) -> AfterValidator:
    """Return the annotation that resolves a name in the file; code gives the resolved value."""

    def validate(value: Any, info: ValidationInfo) -> object:
        return value if info.context is None else make(value, info.context)

    return AfterValidator(validate)


file_path = _in_context(lambda name, context: context.locate(name))
"""After `printable`: the absolute path of the file of that name."""


def secret_file(*, bearer: bool) -> AfterValidator:
    """After `printable`: the secret in the file of that name."""
    return _in_context(lambda name, context: SecretSource(file=context.locate(name), bearer=bearer))


def secret_variable(*, bearer: bool) -> AfterValidator:
    """After `environment_name`: the secret in the environment variable of that name."""
    return _in_context(
        lambda name, context: SecretSource(env=name, environ=context.environ, bearer=bearer)
    )


@_reader(type="string", pattern="^[Hh][Tt][Tt][Pp][Ss]://[^?#@]+$")
def url_of_server(value: object) -> str:
    """Read the root of the API: https, host, optional port and path; drop the slash at its end."""
    parts = _split_url(value, "https://")
    if "@" in parts.netloc:
        raise ValueError("must not have user information; the login belongs under auth")
    return f"https://{parts.netloc.lower()}{parts.path.rstrip('/')}"


@_reader(show=str, type="string", pattern="^[Hh][Tt][Tt][Pp][Ss]?://[^?#]+$")
def url_of_proxy(value: object) -> SecretUrl:
    """Read the URL of a proxy, which may have user information."""
    parts = _split_url(value, "http://", "https://")
    if parts.path.strip("/"):
        raise ValueError("must not have a path")
    return SecretUrl(parts._replace(path="").geturl())


def _split_url(value: object, *starts: str) -> SplitResult:
    """Split a URL; the messages never quote it, as it may hold a password."""
    url = _read_text(value)
    if not url.lower().startswith(starts):
        raise ValueError(f"must start with {' or '.join(starts)}")
    if not _URL_CHARACTERS.fullmatch(url) or len(url) > _MAX_TEXT:
        raise ValueError("must be a URL of ASCII characters without spaces; encode others as %XX")
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or fragment; write ? as %3F and # as %23")
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0 or parts.netloc.endswith(":")
        host = parts.hostname or ""
    except ValueError:
        # The message of urlsplit quotes parts of the URL.
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


def _read_text(value: object) -> str:
    _require_value(value)
    if not isinstance(value, str):
        # pydantic collects ValueErrors
        raise ValueError("must be text; put it in quotes")  # noqa: TRY004
    if not value:
        raise ValueError("is empty")
    return value


def _require_value(value: object) -> None:
    if value is None:
        raise ValueError(NO_VALUE)
