"""Files and standard output: complete writes, atomic replacement, locks and permissions."""

from __future__ import annotations

import io
import math
import os
import secrets
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

if sys.platform != "win32":
    import fcntl

_MODE = 0o644
_PERMISSIONS = 0o777
_LONGEST_SELECT_SECONDS = 3600.0


class OutputError(Exception):
    """The output cannot be written; the message names the file or stream and the reason."""


def open_standard_descriptors() -> None:
    """Open the null device for each of the descriptors 0 to 2 that is closed.

    Otherwise the next file or socket would get its number, and what the C library writes to standard error.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed, and the lowest free number
            os.open(os.devnull, os.O_RDWR)


def write_some(
    descriptor: int,
    data: memoryview,
    *,
    max_wait_seconds: float = math.inf,
    write: Callable[[int, memoryview], int] = os.write,
) -> int:
    """Write at least one byte and return how many, as `os.write` does, even if the descriptor is non-blocking.

    Another process that has the same pipe or terminal can make it non-blocking, such as Node.js, ssh and some supervisors.

    Raises:
        BlockingIOError: there was no room for `max_wait_seconds`.
        OSError: `data` cannot be written.
    """
    until = time.monotonic() + max_wait_seconds
    while True:
        try:
            return write(descriptor, data)
        except BlockingIOError:
            seconds = until - time.monotonic()
            if seconds <= 0:
                raise
            select.select([], [descriptor], [], min(seconds, _LONGEST_SELECT_SECONDS))


class _WaitingOutput(io.RawIOBase):
    """A descriptor whose writes wait for room; stays open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        return write_some(self._descriptor, memoryview(data))


def write_stdout(chunks: Iterable[bytes]) -> bool:
    """Write to standard output; return False if its reader has closed it, as `| head` does.

    Raises:
        OutputError: standard output cannot be written.
    """
    if sys.stdout is None:  # the process was started without one
        raise OutputError("standard output is closed")
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:  # replaced, as contextlib.redirect_stdout does
        sys.stdout.write(b"".join(chunks).decode(errors="replace"))
        return True
    try:
        # Not through sys.stdout: with PYTHONUNBUFFERED it is unbuffered and may write only a part; otherwise data left
        # in its buffer after a failure would fail again at exit.
        with io.BufferedWriter(_WaitingOutput(descriptor)) as out:
            out.writelines(chunks)
    except BrokenPipeError:
        return False
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror or error}") from None
    return True


def check_writable(file: Path) -> None:
    """Check that `atomic_write` can create its temporary file.

    Raises:
        OutputError: the file cannot be written.
    """
    with _temporary(file) as (_target, temporary):
        temporary.open("xb").close()


def atomic_write(file: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file atomically: a reader sees the complete old or the complete new content.

    Everybody may read a new file, whatever the umask: node_exporter runs as another user. A file that is replaced keeps
    its mode and, where the process may set it, its group.

    Raises:
        OutputError: the file cannot be written. The old file stays, and no temporary file is left behind.
    """
    with _temporary(file) as (target, temporary):
        mode, group = _mode_and_group(target)
        with open(temporary, "xb", opener=partial(os.open, mode=_MODE & mode)) as out:
            try:
                set_permissions(out.fileno(), mode, group)
            except PermissionError:  # the process is not a member of that group
                set_permissions(out.fileno(), mode)
            out.writelines(chunks)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)


def _mode_and_group(target: Path) -> tuple[int, int | None]:
    try:
        status = target.stat()
    except FileNotFoundError:
        return _MODE, None
    return status.st_mode & _PERMISSIONS, status.st_gid


def lock_file(descriptor: int) -> bool:
    """Lock the file until it is closed; return False if another process holds the lock.

    Does nothing and returns True on Windows and on file systems without such locks.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def set_permissions(descriptor: int, mode: int, group: int | None = None) -> None:
    """Set the mode and, unless it is None, the group. Does nothing on Windows."""
    if sys.platform != "win32":
        if group is not None and group != os.fstat(descriptor).st_gid:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)


def sync_directory(directory: Path) -> None:
    """Wait until the directory's entries are on the disk. Does nothing on Windows."""
    if sys.platform != "win32":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _temporary(file: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the file, symbolic links resolved, and a temporary path beside it, which is deleted afterwards.

    Raises:
        OutputError: an operation on either failed, or the file is a device such as /dev/null, which must not be replaced.
    """
    try:
        target = Path(os.path.realpath(file))
        if target.exists() and not target.is_file():
            raise OutputError(f"{file}: not a regular file")
        # Not *.prom, so that the textfile collector ignores it. A rename is atomic only within a file system.
        temporary = target.with_name(f".vb365-{secrets.token_hex(8)}.tmp")
        try:
            yield target, temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror or error}") from None
