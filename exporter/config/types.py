"""The types of the file's values: how each is read, and its JSON Schema for editors."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticKnownError, PydanticOmit, core_schema

from exporter.config.files import LoadContext
from exporter.config.secrets import SecretSource, SecretUrl
from exporter.config.suspicious_text import require_printable
from exporter.config.urls import is_host, normalized_api_url, normalized_proxy_url
from exporter.text import DURATION_PATTERN, format_duration, parse_duration

NO_VALUE = "has no value; give it one or remove the key"

_MAX_TEXT = 4096
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Reader:
    """Annotates a key with the function that reads its value, and with the JSON Schema of that value.

    Values from a file are read; then the validation context is a `LoadContext`. Values from code are
    taken as they are: seconds instead of `1m30s`.

    Args:
        read: returns the value of what is written; raises ValueError, whose message never quotes it.
        schema: the JSON Schema of what is written; None if the file cannot have the key.
        show: turns the value into text when the configuration is shown.
    """

    read: Callable[[object], object]
    schema: Mapping[str, object] | None
    show: Callable[[Any], str] | None = None

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        show = self.show and core_schema.plain_serializer_function_ser_schema(
            self.show, when_used="unless-none"
        )
        return core_schema.with_info_plain_validator_function(self._validate, serialization=show)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        if self.schema is None:
            raise PydanticOmit
        return dict(self.schema)

    def _validate(self, value: object, info: ValidationInfo) -> object:
        return value if info.context is None else self.read(value)


def derived(show: Callable[[Any], str] | None = None) -> Reader:
    """Return the reader of a value that follows from others: in the file, its key is unknown."""

    def read(_value: object) -> object:
        raise PydanticKnownError("extra_forbidden")

    return Reader(read, None, show)


def is_derived(field: FieldInfo) -> bool:
    """Return whether the file cannot have the key."""
    return any(isinstance(item, Reader) and item.schema is None for item in field.metadata)


def duration(shortest: str, longest: str) -> Reader:
    """Return the reader of a Prometheus duration within bounds; its value is in seconds."""
    low, high = parse_duration(shortest), parse_duration(longest)

    def read(value: object) -> float:
        _require_value(value)
        # A bare number has no unit.
        seconds = parse_duration(value if isinstance(value, str) else "")
        if not low <= seconds <= high:
            raise ValueError(f"must be from {shortest} to {longest}")
        return seconds

    return Reader(read, {"type": "string", "pattern": DURATION_PATTERN}, format_duration)


def whole_number(low: int, high: int) -> Reader:
    """Return the reader of a whole number within bounds; booleans are not accepted."""

    def read(value: object) -> int:
        _require_value(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return Reader(read, {"type": "integer", "minimum": low, "maximum": high})


def printable(max_length: int = _MAX_TEXT) -> Reader:
    """Return the reader of one line of text without spaces at its ends."""

    def read(value: object) -> str:
        text = _read_text(value, max_length)
        require_printable(text)
        if text != text.strip():
            raise ValueError("must not start or end with a space")
        return text

    return Reader(read, {"type": "string", "minLength": 1, "maxLength": max_length})


def inline_secret(*, bearer: bool = False, lines: bool = False) -> Reader:
    """Return the reader of a secret in the file itself; its value is masked."""
    return Reader(
        lambda value: SecretSource(value=_read_text(value), bearer=bearer, lines=lines),
        {"type": "string", "minLength": 1},
    )


def _in_context(make: Callable[[str, LoadContext], object]) -> AfterValidator:
    """Return an annotation that applies `make` to a name in the file, not to a value from code."""

    def validate(value: Any, info: ValidationInfo) -> object:
        return value if info.context is None else make(value, info.context)

    return AfterValidator(validate)


file_path = _in_context(lambda name, context: context.locate(name))
"""Use after `printable`: the absolute path of the file with that name."""


def secret_file(*, bearer: bool) -> AfterValidator:
    """Use after `printable`: the secret in the file with that name."""
    return _in_context(lambda name, context: SecretSource(file=context.locate(name), bearer=bearer))


def secret_variable(*, bearer: bool) -> AfterValidator:
    """Use after `environment_name`: the secret in the environment variable with that name."""
    return _in_context(
        lambda name, context: SecretSource(env=name, environ=context.environ, bearer=bearer)
    )


def _read_boolean(value: object) -> bool:
    _require_value(value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _read_host_name(value: object) -> str:
    host = _read_text(value)
    if "%" in host or not is_host(host):
        raise ValueError("must be a host name or an IP address")
    return host.lower()


def _read_session_id(value: object) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError("must be a UUID such as 635b22cf-9cdc-4004-9160-9b90f90f1bbf")
    return value.lower()


def _read_environment_name(value: object) -> str:
    name = _read_text(value)
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable")
    return name


def _read_text(value: object, max_length: int = sys.maxsize) -> str:
    _require_value(value)
    if not isinstance(value, str):
        # pydantic collects ValueErrors
        raise ValueError("must be text; put it in quotes")  # noqa: TRY004
    if not value:
        raise ValueError("is empty")
    if len(value) > max_length:
        raise ValueError(f"must have at most {max_length} characters")
    return value


def _require_value(value: object) -> None:
    if value is None:
        raise ValueError(NO_VALUE)


boolean = Reader(_read_boolean, {"type": "boolean"})

host_name = Reader(_read_host_name, {"type": "string", "minLength": 1})
"""A host name or IP address; the value is in lower case."""

session_id = Reader(_read_session_id, {"type": "string", "pattern": f"^{_UUID.pattern}$"})
"""A UUID with hyphens; the value is in lower case."""

environment_name = Reader(
    _read_environment_name, {"type": "string", "pattern": f"^{_VARIABLE.pattern}$"}
)
"""The name of an environment variable."""

api_url = Reader(
    lambda value: normalized_api_url(_read_text(value, _MAX_TEXT)),
    {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^?#@]+$"},
)
"""The root of the API: https, host, optional port and path; the value has no slash at its end."""

proxy = Reader(
    lambda value: SecretUrl(normalized_proxy_url(_read_text(value, _MAX_TEXT))),
    {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^?#]+$"},
    str,
)
"""The URL of a proxy, which may have user information; the value is masked when it is shown."""
