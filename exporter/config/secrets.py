"""Secrets that can be read where they are needed and are `<secret>` everywhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from exporter.config.files import UnreadableError, read_start

__all__ = ["MASK", "SecretSource", "SecretUnavailableError", "SecretUrl"]

MASK = "<secret>"

_LARGEST_FILE_BYTES = 64 * 1024
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEARER = re.compile(r"[\x21-\x7e]+")


class SecretUnavailableError(Exception):
    """A secret cannot be read, is empty or cannot be sent; the message never holds its value."""


class _Masked:
    """Prints as the mask: by `repr`, `str`, and in pydantic's dumps."""

    __slots__ = ()

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return str(self)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.to_string_ser_schema(when_used="always")
        )


class SecretSource(_Masked):
    """Where a password or token comes from: the configuration itself, a file or the environment.

    Files and variables are read anew by each `read`, so that a renewed secret is found.
    """

    __slots__ = ("_environ", "_value", "bearer", "env", "file")

    def __init__(
        self,
        *,
        value: str = "",
        file: Path | None = None,
        env: str | None = None,
        environ: Mapping[str, str] | None = None,
        bearer: bool = False,
    ) -> None:
        """Take the secret from `file`, from the variable `env` of `environ`, else it is `value`.

        Args:
            value: the secret itself.
            file: file whose content it is, without one newline at its end.
            env: name of the environment variable that holds it.
            environ: the environment in which `env` is looked up.
            bearer: it travels in a header, so it must be visible ASCII without spaces.
        """
        self._value = value
        self._environ = environ or {}
        self.file = file
        self.env = env
        self.bearer = bearer

    @property
    def origin(self) -> Literal["value", "file", "env"]:
        """Which of the three ways it is."""
        if self.file is not None:
            return "file"
        return "value" if self.env is None else "env"

    def read(self) -> str:
        """The secret as it is now.

        Raises:
            SecretUnavailableError: it cannot be read, is empty, or is no possible bearer token.
        """
        if self.file is not None:
            where, secret = str(self.file), _content(self.file)
        elif self.env is not None:
            # The name stays unsaid: some users put the secret itself there.
            where = "the environment variable named here"
            if self.env not in self._environ:
                raise SecretUnavailableError(f"{where} is not set")
            secret = self._environ[self.env]
        else:
            where, secret = "the value", self._value
        if not secret:
            raise SecretUnavailableError(f"{where} is empty")
        if _SURROGATE.search(secret):
            raise SecretUnavailableError(f"{where} is not UTF-8 text")
        if self.bearer and not _BEARER.fullmatch(secret):
            raise SecretUnavailableError(
                f"{where} is no bearer token: it has spaces, line breaks or characters beyond ASCII"
            )
        return secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretSource) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, Path | None, str | None, bool]:
        return (self._value, self.file, self.env, self.bearer)


class SecretUrl(_Masked):
    """A URL whose user information, if it has any, is shown masked: `http://<secret>@proxy:3128`."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        """The whole URL, for the connection itself."""
        return self._url

    def __str__(self) -> str:
        try:
            parts = urlsplit(self._url)
        except ValueError:
            return MASK
        _user, at, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{MASK}@{host}").geturl() if at else self._url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)


def _content(path: Path) -> str:
    try:
        data = read_start(path, _LARGEST_FILE_BYTES + 1)
    except UnreadableError as error:
        raise SecretUnavailableError(f"{path} {error}") from error
    if len(data) > _LARGEST_FILE_BYTES:
        raise SecretUnavailableError(f"{path} is larger than {_LARGEST_FILE_BYTES // 1024} KiB")
    # Bytes that are no UTF-8 become surrogates, which `read` refuses: an exception would hold them.
    # Windows editors like to put a byte order mark first.
    text = data.decode("utf-8-sig", errors="surrogateescape")
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
