"""Where the one-shot commands write: standard output, or a file that is replaced as a whole."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["OutputError", "atomic_write", "check_writable", "write_stdout"]

_MODE = 0o644  # what the umask takes from it is gone


class OutputError(Exception):
    """The output cannot be written; the text says where, and why."""


def write_stdout(chunks: Iterable[bytes]) -> bool:
    """Write to standard output; False when nobody reads it any more, as behind `head`.

    Raises:
        OutputError: it cannot be written.
    """
    if sys.stdout is None:  # the process was started without one
        raise OutputError("standard output is closed")
    try:
        # A buffer of its own: sys.stdout has none with PYTHONUNBUFFERED, and would write a part; and what is left in
        # sys.stdout's after a failure fails once more when Python ends.
        with open(sys.stdout.fileno(), "wb", closefd=False) as out:
            out.writelines(chunks)
    except BrokenPipeError:
        return False
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror or error}") from None
    return True


def check_writable(file: Path) -> None:
    """Try whether `atomic_write` can work, before there is something to write.

    Raises:
        OutputError: it cannot.
    """
    try:
        temporary = _temporary(_target(file))
        try:
            temporary.open("xb").close()
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror or error}") from None


def atomic_write(file: Path, chunks: Iterable[bytes]) -> None:
    """Put a new file in place of that one: whoever reads sees the old one or the new one, each whole.

    Raises:
        OutputError: it cannot be written. The old one stays, and nothing else is left behind.
    """
    try:
        target = _target(file)
        temporary = _temporary(target)
        try:
            with open(temporary, "xb", opener=_opener) as out:
                out.writelines(chunks)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror or error}") from None


def _target(file: Path) -> Path:
    """The file itself where links lead to it; never a device such as /dev/null, which would be replaced, too."""
    target = Path(os.path.realpath(file))
    if target.exists() and not target.is_file():
        raise OutputError(f"{file}: is no regular file")
    return target


def _temporary(target: Path) -> Path:
    # Hidden and not *.prom: the textfile collector passes it over. Beside the target, as a rename needs it.
    return target.with_name(f".vb365-{secrets.token_hex(8)}.tmp")


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, _MODE)
