"""Secrets, which print as `<secret>` and are read only where they are needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from exporter.config.files import UTF16_PROBLEM, UnreadableError, is_utf16, read_start
from exporter.config.suspicious_text import control_character, describe
from exporter.text import replace_surrogates

MASK = "<secret>"

_MAX_FILE_BYTES = 64 * 1024
_BEARER = re.compile(r"[\x21-\x7e]+")
_LINE_BREAK = re.compile(r"\r?\n")
_LINE_BREAK_AT_END = re.compile(r"(?:\r?\n|\r)\Z")


class SecretUnavailableError(Exception):
    """A secret cannot be read, is empty or cannot be sent; the message never contains it."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SecretSource:
    """Where a password or token comes from: the configuration itself, a file or the environment. It prints as the mask.

    `read` reads the file or variable each time, so that a renewed secret is found. One line break at the
    end is dropped wherever the secret comes from: editors, `echo` and Kubernetes secrets add one.

    Args:
        value: the secret itself, unless there is a `file` or an `env`.
        file: the file that holds it.
        env: the name of the environment variable that holds it.
        environ: the environment in which `env` is looked up.
        bearer: whether it is sent in a header, where only visible ASCII without spaces is allowed.
        lines: whether it is text of several lines, such as a PEM key.
    """

    value: str = ""
    file: Path | None = None
    env: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict, compare=False)
    bearer: bool = False
    lines: bool = False

    def __repr__(self) -> str:
        return MASK

    @property
    def is_inline(self) -> bool:
        """Whether the configuration file itself holds it."""
        return self.file is None and self.env is None

    @property
    def shown(self) -> str:
        """How the configuration in force shows it: the file, the variable's name, or the mask."""
        return str(self.file or self.env or MASK)

    def read(self) -> str:
        """Return the current secret.

        Raises:
            SecretUnavailableError: it cannot be read, is empty, contains a control character, or cannot be sent as a
                bearer token.
        """
        secret = without_line_break(self.read_whole())
        where = self._where
        if not secret:
            raise SecretUnavailableError(f"{where} is empty")
        if replace_surrogates(secret) != secret:
            raise SecretUnavailableError(f"{where} is not UTF-8 text")
        if self.bearer and not _BEARER.fullmatch(secret):
            raise SecretUnavailableError(
                f"{where} is not a bearer token: it contains spaces, line breaks or non-ASCII characters"
            )
        control = control_character(_LINE_BREAK.sub("", secret) if self.lines else secret)
        if control is not None:
            raise SecretUnavailableError(
                f"{where} contains the control character {describe(control)}; only a single line break at the "
                "end is dropped"
            )
        return secret

    def read_whole(self) -> str:
        """Return the current secret with the line break at its end, if it has one.

        Raises:
            SecretUnavailableError: it cannot be read.
        """
        if self.file is not None:
            return _content(self.file)
        if self.env is None:
            return self.value
        if self.env not in self.environ:
            raise SecretUnavailableError(f"{self._where} is not set")
        return self.environ[self.env]

    @property
    def _where(self) -> str:
        if self.file is not None:
            return str(self.file)
        # The name stays out of messages: some users put the secret itself there.
        return "the value" if self.env is None else "the environment variable named here"


@dataclass(frozen=True, slots=True, repr=False)
class SecretUrl:
    """A URL that prints with its user information, if any, masked: `http://<secret>@proxy:3128`."""

    _url: str

    def reveal(self) -> str:
        """Return the whole URL, to connect with."""
        return self._url

    @property
    def has_secret(self) -> bool:
        """Whether it has user information."""
        return str(self) != self._url

    def __repr__(self) -> str:
        try:
            parts = urlsplit(self._url)
        except ValueError:
            return MASK
        _user, at, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{MASK}@{host}").geturl() if at else self._url


def without_line_break(text: str) -> str:
    """Return the text without one line break at its end: a line feed, a carriage return, or both."""
    return _LINE_BREAK_AT_END.sub("", text)


def _content(path: Path) -> str:
    try:
        data = read_start(path, _MAX_FILE_BYTES + 1)
    except UnreadableError as error:
        raise SecretUnavailableError(f"{path} {error}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise SecretUnavailableError(f"{path} is larger than {_MAX_FILE_BYTES // 1024} KiB")
    if is_utf16(data):
        raise SecretUnavailableError(f"{path} {UTF16_PROBLEM}")
    # Bytes that are not UTF-8 become surrogates, which `read` rejects: a UnicodeDecodeError would hold the secret.
    # Some Windows editors start the file with a byte order mark.
    return data.decode("utf-8-sig", errors="surrogateescape")
