"""Locates the files that a configuration names, and checks that they can be used."""

from __future__ import annotations

import os
import ssl
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

UTF16_PROBLEM = "is UTF-16 text, which Windows PowerShell writes by default; save it as UTF-8"
_DER = (b"\x30\x81", b"\x30\x82")  # an ASN.1 sequence
_DIRECTORY = (
    "it is a directory; a container engine makes one where the file to be mounted does not exist"
)


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
        mode = path.stat().st_mode
        # A pipe would block, and could be read only once.
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return file.read(max_bytes)
        reason = _DIRECTORY if stat.S_ISDIR(mode) else "not a regular file"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid file name"
    raise UnreadableError(f"cannot be read: {reason}")


def is_utf16(data: bytes) -> bool:
    """Return whether the start of a file is that of text in UTF-16."""
    has_mark = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return has_mark or b"\0\0" in {data[0:4:2], data[1:4:2]}


def is_readable_by_everybody(path: Path) -> bool:
    """Return whether the file's mode lets every user read it; never on Windows, which has no such mode."""
    if sys.platform == "win32":
        return False
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


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
        return f"{path} {_pem_problem(path)}"
    return None


def _pem_problem(path: Path) -> str:
    """Return why OpenSSL finds no certificate in a readable file."""
    start = read_start(path, 4)
    if is_utf16(start):
        return UTF16_PROBLEM
    if start.startswith(_DER):
        return "is a certificate in DER form; convert it with openssl x509 -inform der"
    return "holds no usable certificates in PEM form"


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
