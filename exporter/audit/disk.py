"""The few calls to the operating system that the audit log's file is made of, in one place to be replaced in tests."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["PRIVATE_MODE", "Disk"]

PRIVATE_MODE = 0o600

# Not blocking: whatever is no regular file is refused once it is open, a pipe without a reader among them.
_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Disk:
    """Each method raises OSError when the system refuses."""

    def open(self, path: Path) -> tuple[int, bool]:
        """Descriptor of a file for appending, and whether it was created, then for its owner alone."""
        try:
            return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, PRIVATE_MODE), True
        except FileExistsError:
            return os.open(path, _FLAGS), False

    def lock(self, descriptor: int) -> bool:
        """Take the file for this process alone, until it is closed; False when another one has it.

        Where there are no such locks, on Windows and some network file systems, everybody gets it.
        """
        if sys.platform != "win32":
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return True
        return True

    def status(self, descriptor: int) -> os.stat_result:
        """What the system knows of an open file."""
        return os.fstat(descriptor)

    def is_at(self, descriptor: int, path: Path) -> bool:
        """Whether an open file is what is found at the path."""
        try:
            there = path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def permit(self, descriptor: int, mode: int, group: int | None = None) -> None:
        """Set the permissions, and the group if one is given. Windows has other means."""
        if sys.platform == "win32":
            return
        if group is not None and group != os.fstat(descriptor).st_gid:
            os.fchown(descriptor, -1, group)
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        """At most so many bytes from there on."""
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Append, and return how many bytes were."""
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file to this length."""
        os.ftruncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """The same for the names in a folder, where that can be asked for."""
        if sys.platform == "win32":
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name."""
        path.rename(target)

    def close(self, descriptor: int) -> None:
        """Close, which gives the lock back."""
        os.close(descriptor)
