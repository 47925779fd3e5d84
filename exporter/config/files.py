"""Locates the files that a configuration names, and checks that they can be used."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "LoadContext",
    "UnreadableError",
    "ca_file_problem",
    "key_pair_problem",
    "read_problem",
    "read_start",
]


class UnreadableError(Exception):
    """A file cannot be read; its message (`cannot be read: ...`) follows the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadContext:
    """Where the file names and environment variables of a configuration are looked up.

    Args:
        directory: what relative paths are relative to.
        environ: the environment variables.
    """

    directory: Path
    environ: Mapping[str, str]

    def locate(self, name: str) -> Path:
        """Return the absolute path: in systemd's $CREDENTIALS_DIRECTORY if the file exists there, else in `directory`."""
        credentials = self.environ.get("CREDENTIALS_DIRECTORY")
        if credentials and not Path(name).is_absolute():
            candidate = Path(credentials, name)
            # Unlike Path.exists, this takes any name and never raises.
            if os.path.exists(candidate):  # noqa: PTH110 - see above
                return candidate.absolute()
        return (self.directory / name).absolute()


def read_start(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file, up to `max_bytes`.

    Raises:
        UnreadableError: it is not a regular file, or cannot be read.
    """
    try:
        # A pipe would block, and could be read only once.
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                return file.read(max_bytes)
        reason = "not a regular file"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid file name"
    raise UnreadableError(f"cannot be read: {reason}")


def read_problem(path: Path) -> str | None:
    """Return why the file cannot be read (`/a/b cannot be read: ...`), or None."""
    try:
        read_start(path, 1)
    except UnreadableError as error:
        return f"{path} {error}"
    return None


def ca_file_problem(path: Path, context: ssl.SSLContext | None = None) -> str | None:
    """Load the certificates of a `ca_file` into `context`; return why that failed, or None."""
    if problem := read_problem(path):
        return problem
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError):
        return f"{path} holds no usable certificates in PEM form"
    return None


def key_pair_problem(
    cert_file: Path, key_file: Path, context: ssl.SSLContext | None = None
) -> str | None:
    """Load a certificate and its key, both readable, into `context`; return why that failed, or None."""
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    is_encrypted = False

    def passphrase() -> str:
        # Without this, OpenSSL would prompt at the terminal.
        nonlocal is_encrypted
        is_encrypted = True
        return ""

    try:
        context.load_cert_chain(cert_file, key_file, passphrase)
    except (OSError, ValueError) as error:
        if is_encrypted:
            return f"{key_file} is encrypted; the exporter needs it without a passphrase"
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return f"{key_file} is not the key of {cert_file}"
        return f"{cert_file} and {key_file} are not a certificate and its key in PEM form"
    return None
