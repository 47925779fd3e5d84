"""The audit log's file: whole lines are appended, torn ones cut off, and it is rotated, by the exporter or by others."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from exporter.audit.disk import PRIVATE_MODE, Disk
from exporter.audit.record import BEGINNING, Told, events_in
from exporter.audit.rotated import new_name, read_lines, rotated_files, told_in, too_old
from exporter.system.files import OutputError

__all__ = ["AuditFile", "Limits"]

log = structlog.get_logger()

# A group may be let in, to ship the log; everybody else may not, and nobody else may write.
_PERMITTED_MODE = 0o640
_CHUNK_BYTES = 2**16
# At start, these are trouble that may pass; anything else is a mistake in the configuration.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the file is rotated, and which rotated files are kept."""

    most_bytes: int = 64 * 2**20
    """The file is rotated before it grows beyond this."""
    kept_files: int = 10
    """So many rotated files are kept in any case."""
    kept_seconds: Callable[[], float] = lambda: 400 * 86400.0
    """All that were written to within this time are kept as well: what a session told in it may come again."""


class AuditFile:
    """Appends to a file of which it alone knows how much is whole. For one thread at a time.

    Args:
        path: the file. Where links lead to it, it is where they lead now.
        timestamp: the wall clock, Unix seconds.
        dropped: called with what a rotated file tells before that file is deleted.
        limits: when to rotate, what to keep.
        disk: the system's calls.
    """

    def __init__(
        self,
        path: Path,
        *,
        timestamp: Callable[[], float],
        dropped: Callable[[Iterator[Told]], None],
        limits: Limits | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.name = str(path)
        self._given = path
        self._path = Path(os.path.realpath(path))
        self._timestamp = timestamp
        self._dropped = dropped
        self._limits = limits or Limits()
        self._disk = disk or Disk()
        self._descriptor: int | None = None
        self._whole_bytes = 0  # beyond it there can be only what a write left that failed
        self._torn = False
        self._rotate_at_bytes = self._limits.most_bytes
        self._mode = PRIVATE_MODE
        self._group: int | None = None

    def open(self) -> None:
        """Open it, or try whether it can be, at start. Trouble of the disk that may pass is none yet.

        Raises:
            OutputError: it cannot be used.
        """
        try:
            self._open()
        except OSError as error:
            if error.errno not in _PASSING:
                raise OutputError(self._told(error.strerror or str(error))) from None

    def told(self) -> Iterator[Told]:
        """All events that stand in the file and in those it was before.

        Raises:
            OSError, OutputError: it cannot be read.
        """
        descriptor = self._opened()
        for one in rotated_files(self._path):
            yield from told_in(one)
        os.lseek(descriptor, 0, os.SEEK_SET)
        foreign = 0
        with open(descriptor, "rb", closefd=False) as lines:
            for told in events_in(read_lines(lines)):
                if told is None:
                    foreign += 1
                else:
                    yield told
        if foreign:
            log.warning(
                "lines in the audit log that are none of its own", file=self.name, lines=foreign
            )

    def append(self, lines: bytes, *, sync: bool) -> None:
        """Append all of these lines or, when that fails, none of them.

        Args:
            lines: with their newlines.
            sync: wait until they are on the disk.

        Raises:
            OSError, OutputError: nothing of it counts as written.
        """
        descriptor = self._opened()
        self._repair(descriptor)
        if self._whole_bytes and self._whole_bytes + len(lines) > self._rotate_at_bytes:
            self._rotate(descriptor)
            descriptor = self._opened()
        self._torn = True
        rest = memoryview(lines)
        while rest:
            rest = rest[self._disk.write(descriptor, rest) :]
        if sync:
            self._disk.sync(descriptor)
        self._whole_bytes += len(lines)
        self._torn = False

    def close(self) -> None:
        """Cut off what is torn, if that can be, and close."""
        if self._descriptor is None:
            return
        with suppress(OSError):  # whoever opens it next will
            self._repair(self._descriptor)
        self._close()

    def _opened(self) -> int:
        """The descriptor of what is at the path now: it may have been moved by others, or be opened for the first time."""
        if self._descriptor is not None and not self._disk.is_at(self._descriptor, self._path):
            self.close()
        if self._descriptor is None:
            return self._open()
        return self._descriptor

    def _open(self) -> int:
        if self._given.exists() and not self._given.is_file():
            raise OutputError(self._told("is no regular file; standard output is -"))
        descriptor, created = self._disk.open(self._path)
        try:
            self._take(descriptor, created=created)
        except BaseException:
            self._disk.close(descriptor)
            raise
        self._descriptor = descriptor
        self._torn = False
        self._rotate_at_bytes = self._limits.most_bytes
        return descriptor

    def _take(self, descriptor: int, *, created: bool) -> None:
        """Make a file that was opened fit to be appended to: for us alone, private, and ending with a whole line."""
        status = self._disk.status(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OutputError(self._told("is no regular file; standard output is -"))
        if not self._disk.lock(descriptor):
            raise OutputError(self._told("another process is writing to it"))
        if created:
            self._give_permissions(descriptor)
            self._sync_folder()
        else:
            self._check_content(descriptor)
            self._check_permissions(descriptor, status)
        status = self._disk.status(descriptor)
        self._mode, self._group = stat.S_IMODE(status.st_mode), status.st_gid
        self._whole_bytes = self._end_of_lines(descriptor, status.st_size)
        if self._whole_bytes < status.st_size:
            self._disk.truncate(descriptor, self._whole_bytes)
            log.warning(
                "incomplete last line of the audit log cut off",
                file=self.name,
                cut_bytes=status.st_size - self._whole_bytes,
            )

    def _check_content(self, descriptor: int) -> None:
        """Never cut or mix with a file that is something else."""
        head = self._disk.read(descriptor, 0, len(BEGINNING))
        lost = head.startswith(b"\0")  # its first line was not on the disk when the power failed
        if not lost and not BEGINNING.startswith(head):
            raise OutputError(self._told("is another kind of file, not an audit log"))

    def _give_permissions(self, descriptor: int) -> None:
        """A file that follows another one is for whom that was for; the first one is for its owner alone."""
        try:
            self._disk.permit(descriptor, self._mode, self._group)
        except PermissionError:  # not a member of that group
            self._disk.permit(descriptor, PRIVATE_MODE)

    def _check_permissions(self, descriptor: int, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        if sys.platform == "win32" or not mode & ~_PERMITTED_MODE:
            return
        try:
            self._disk.permit(descriptor, mode & _PERMITTED_MODE)
        except PermissionError:
            log.warning(
                "audit log is open to others and not ours to close",
                file=self.name,
                mode=f"{mode:04o}",
            )
        else:
            log.warning(
                "audit log was open to others",
                file=self.name,
                mode_was=f"{mode:04o}",
                mode=f"{mode & _PERMITTED_MODE:04o}",
            )

    def _end_of_lines(self, descriptor: int, size: int) -> int:
        """How much of the file is whole lines."""
        end = size
        while end > 0:
            begin = max(0, end - _CHUNK_BYTES)
            newline = self._disk.read(descriptor, begin, end - begin).rfind(b"\n")
            if newline >= 0:
                return begin + newline + 1
            end = begin
        return 0

    def _repair(self, descriptor: int) -> None:
        """Cut off what a write left that failed, and take notice of what others did to the file."""
        size = self._disk.status(descriptor).st_size
        if self._torn and size > self._whole_bytes:
            self._disk.truncate(descriptor, self._whole_bytes)
        elif size != self._whole_bytes:
            self._whole_bytes = self._end_of_lines(descriptor, size)
            if self._whole_bytes < size:
                self._disk.truncate(descriptor, self._whole_bytes)
        self._torn = False

    def _rotate(self, descriptor: int) -> None:
        """Put the file aside; when that cannot be done, it grows on."""
        self._disk.sync(descriptor)
        self._close()  # Windows renames no open file
        try:
            self._disk.rename(self._path, new_name(self._path, self._timestamp()))
        except OSError as error:
            log.warning(
                "audit log cannot be rotated and grows on", file=self.name, error=error.strerror
            )
            self._open()
            self._rotate_at_bytes = self._whole_bytes + self._limits.most_bytes // 16
            return
        self._open()
        self._sync_folder()
        self._drop()

    def _drop(self) -> None:
        """Delete the rotated files whose events cannot come again."""
        before = self._timestamp() - self._limits.kept_seconds()
        try:
            for one in too_old(self._path, kept=self._limits.kept_files, before=before):
                self._dropped(told_in(one))
                one.unlink()
                log.info("old audit log deleted", file=str(one))
        except OSError as error:
            log.warning("old audit logs are kept", file=self.name, error=error.strerror)

    def _sync_folder(self) -> None:
        with suppress(OSError):  # not every file system can
            self._disk.sync_folder(self._path.parent)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._disk.close(descriptor)

    def _told(self, why: str) -> str:
        return f"audit log {self.name}: {why}"
