"""Secrets that are readable where they are needed, and print as `<secret>` everywhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from exporter.config.files import UnreadableError, read_start

__all__ = ["MASK", "SecretSource", "SecretUnavailableError", "SecretUrl"]

MASK = "<secret>"

_MAX_FILE_BYTES = 64 * 1024
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEARER = re.compile(r"[\x21-\x7e]+")


class SecretUnavailableError(Exception):
    """A secret cannot be read, is empty or cannot be sent; the message never holds its value."""


class _Masked:
    """Prints as the mask."""

    __slots__ = ()

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return str(self)


class SecretSource(_Masked):
    """Where a password or token comes from: the configuration itself, a file or the environment.

    Every `read` reads the file or variable again, so that a renewed secret is found.

    Args:
        value: the secret itself, unless there is a `file` or an `env`.
        file: the file whose content it is, without one newline at its end.
        env: the name of the environment variable that holds it.
        environ: the environment in which `env` is looked up.
        bearer: it is sent in a header, so it must be visible ASCII without spaces.
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
        self._value = value
        self._environ = environ or {}
        self.file = file
        self.env = env
        self.bearer = bearer

    @property
    def shown(self) -> str:
        """How the configuration in force shows it: the file, the variable's name, or the mask."""
        return str(self.file or self.env or MASK)

    def read(self) -> str:
        """Return the secret as it is now.

        Raises:
            SecretUnavailableError: it cannot be read, is empty, or cannot be sent as a bearer token.
        """
        if self.file is not None:
            where, secret = str(self.file), _content(self.file)
        elif self.env is not None:
            # Not the name: some users put the secret itself there.
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
                f"{where} is not a bearer token: it contains spaces, line breaks or non-ASCII characters"
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
        """Return the whole URL, for the connection itself."""
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
        data = read_start(path, _MAX_FILE_BYTES + 1)
    except UnreadableError as error:
        raise SecretUnavailableError(f"{path} {error}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise SecretUnavailableError(f"{path} is larger than {_MAX_FILE_BYTES // 1024} KiB")
    # Bytes that are not UTF-8 become surrogates, which `read` rejects: an exception would hold them.
    # Windows editors like to put a byte order mark first.
    text = data.decode("utf-8-sig", errors="surrogateescape")
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
