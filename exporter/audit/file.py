"""The audit log's file: appends complete lines, repairs an incomplete last line, and reopens the file after rotation."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from exporter.audit.record import (
    LINE_START_BYTES,
    MAX_LOST_BYTES,
    LoggedEvent,
    is_start_of_log,
    parse_lines,
)
from exporter.system.files import OutputError, lock_file, set_permissions, sync_directory

log = structlog.get_logger()

_PRIVATE_MODE = 0o600
_GROUP_READ = 0o040  # lets a log shipper read the file
_BINARY = getattr(os, "O_BINARY", 0)
# O_NONBLOCK: opening a named pipe without a reader must not block.
_APPEND_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | _BINARY
# Errors at startup that are retried; all others are configuration mistakes.
_TRANSIENT_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
# logrotate appends `.1`, `.2`, ... or with dateext a date such as `-20261125`.
_ROTATED_SUFFIX = re.compile(r"[.-][0-9][0-9.-]*", re.ASCII)
_CHUNK_BYTES = 2**16
# A longer line was not written by the exporter, and is read in parts to bound the memory use.
_MAX_LINE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCalls:
    """The file's system calls, which tests replace to simulate disk failures."""

    open: Callable[[Path, int, int], int] = os.open
    read: Callable[[int, int], bytes] = os.read
    write: Callable[[int, memoryview], int] = os.write
    truncate: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = os.fsync


class _RotatedFile(NamedTuple):
    modified_ns: int
    inode: int
    path: Path


class AuditFile:
    """Appends lines to a file and reads its events back. Not thread-safe.

    Before each append the file is reopened if log rotation has moved or deleted it.

    Args:
        path: the file. Symbolic links are resolved once.
        calls: the system calls.
    """

    def __init__(self, path: Path, *, calls: SystemCalls | None = None) -> None:
        self.name = str(path)
        self._given = path
        self._path = Path(os.path.realpath(path))
        self._calls = calls or SystemCalls()
        self._descriptor: int | None = None
        self._complete_bytes = 0  # the rest was left by a failed write or written by others
        self._append_unfinished = False
        self._inherited_permissions: tuple[int, int] | None = None

    def open(self) -> None:
        """Open the file at startup. After a transient disk error (ENOSPC, EDQUOT, EIO), the first append opens it.

        Raises:
            OutputError: the file cannot be used.
        """
        try:
            self._open()
        except OSError as error:
            if error.errno not in _TRANSIENT_ERRNOS:
                raise OutputError(self._describe(error.strerror or str(error))) from None

    def read_events(self) -> Iterator[LoggedEvent]:
        """Iterate over the events in the file and its uncompressed predecessors; an event may be repeated.

        Raises:
            OSError, OutputError: the file cannot be read.
        """
        read: list[_RotatedFile] | None = None
        while (found := self._predecessors()) != read:  # read again if they were rotated meanwhile
            for predecessor in found:
                yield from self._read_predecessor(predecessor.path)
            yield from self._read_current()
            read = found

    def append(self, lines: bytes, *, sync: bool) -> None:
        """Append all of the complete lines or, on failure, none of them; with `sync`, wait until they are on the disk.

        Raises:
            OSError, OutputError: no line counts as written; the next append first removes any that were.
        """
        descriptor = self._ensure_open()
        self._repair(descriptor)
        self._append_unfinished = True
        rest = memoryview(lines)
        while rest:
            rest = rest[self._calls.write(descriptor, rest) :]
        if sync:
            self._calls.sync(descriptor)
        self._complete_bytes += len(lines)
        self._append_unfinished = False

    def close(self) -> None:
        """Remove what a failed append left, if possible, and close the file."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with suppress(OSError):  # the next start repairs it
            self._repair(descriptor)
        os.close(descriptor)

    def _ensure_open(self) -> int:
        """Return the file's descriptor, reopened if the file was moved or deleted."""
        if self._descriptor is None:
            return self._open()
        status = os.fstat(self._descriptor)
        with suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), status):
                return self._descriptor
        self._inherited_permissions = (status.st_mode, status.st_gid)
        self.close()
        return self._open()

    def _open(self) -> int:
        if self._given.exists() and not self._given.is_file():
            raise OutputError(self._describe("not a regular file; standard output is -"))
        try:
            flags = _APPEND_FLAGS | os.O_CREAT | os.O_EXCL
            descriptor, created = self._calls.open(self._path, flags, _PRIVATE_MODE), True
        except FileExistsError:
            descriptor, created = self._calls.open(self._path, _APPEND_FLAGS, 0), False
        try:
            self._prepare(descriptor, created=created)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._append_unfinished = False
        return descriptor

    def _prepare(self, descriptor: int, *, created: bool) -> None:
        """Lock the file, set its permissions, and make it end with a complete line."""
        if not lock_file(descriptor):
            raise OutputError(self._describe("another process is writing to it"))
        if created:
            self._inherit_permissions(descriptor)
            with suppress(OSError):  # not supported by every file system
                sync_directory(self._path.parent)
        else:
            self._check_content(descriptor)
            self._restrict_permissions(descriptor)
        if cut_bytes := self._cut_incomplete_line(descriptor):
            log.warning(
                "cut off incomplete last line of audit log", file=self.name, cut_bytes=cut_bytes
            )

    def _check_content(self, descriptor: int) -> None:
        """Refuse to change a file that is not an audit log."""
        start = self._read(descriptor, 0, LINE_START_BYTES)
        if start.startswith(b"\0"):
            start = self._read(descriptor, 0, MAX_LOST_BYTES + _MAX_LINE_BYTES)
        if not is_start_of_log(start):
            raise OutputError(self._describe("not an audit log but another kind of file"))

    def _inherit_permissions(self, descriptor: int) -> None:
        """Give a new file the group of its predecessor, and whether the group can read it; the first file is private."""
        with suppress(OSError):  # the predecessor has just been renamed or compressed
            if self._inherited_permissions is None and (predecessors := self._predecessors()):
                status = predecessors[-1].path.stat()
                self._inherited_permissions = (status.st_mode, status.st_gid)
        mode, group = self._inherited_permissions or (0, None)
        try:
            set_permissions(descriptor, _PRIVATE_MODE | mode & _GROUP_READ, group)
        except PermissionError:  # the process is not a member of that group
            set_permissions(descriptor, _PRIVATE_MODE)

    def _restrict_permissions(self, descriptor: int) -> None:
        """Remove all permissions of others, and those of the group except reading."""
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        permitted = mode & (_PRIVATE_MODE | _GROUP_READ)
        if sys.platform == "win32" or mode == permitted:
            return
        try:
            set_permissions(descriptor, permitted)
        except PermissionError:
            log.warning(
                "audit log is accessible to others and its mode cannot be changed",
                file=self.name,
                mode=f"{mode:04o}",
            )
        else:
            log.warning(
                "audit log was accessible to others, mode restricted",
                file=self.name,
                mode_was=f"{mode:04o}",
                mode=f"{permitted:04o}",
            )

    def _repair(self, descriptor: int) -> None:
        """Remove what a failed append left; keep complete lines that others appended, and accept a truncation."""
        size = os.fstat(descriptor).st_size
        if self._append_unfinished and size > self._complete_bytes:
            self._calls.truncate(descriptor, self._complete_bytes)
        elif size != self._complete_bytes:
            self._cut_incomplete_line(descriptor)
        self._append_unfinished = False

    def _cut_incomplete_line(self, descriptor: int) -> int:
        """Truncate the file to its complete lines; return the number of bytes cut off."""
        size = unsearched = os.fstat(descriptor).st_size
        complete = 0
        while unsearched > 0 and complete == 0:
            start = max(0, unsearched - _CHUNK_BYTES)
            newline = self._read(descriptor, start, unsearched - start).rfind(b"\n")
            if newline >= 0:
                complete = start + newline + 1
            unsearched = start
        if complete < size:
            self._calls.truncate(descriptor, complete)
        self._complete_bytes = complete
        return size - complete

    def _read(self, descriptor: int, offset: int, size: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return self._calls.read(descriptor, size)

    def _predecessors(self) -> list[_RotatedFile]:
        """Return the rotated files that are not compressed, newest last."""
        name = self._path.name
        found = []
        for path in self._path.parent.iterdir():
            if path.name.startswith(name) and _ROTATED_SUFFIX.fullmatch(path.name, len(name)):
                with suppress(FileNotFoundError):  # just renamed
                    status = path.stat()
                    if stat.S_ISREG(status.st_mode):
                        found.append(_RotatedFile(status.st_mtime_ns, status.st_ino, path))
        return sorted(found)

    def _read_predecessor(self, path: Path) -> Iterator[LoggedEvent]:
        try:
            descriptor = self._calls.open(path, os.O_RDONLY | _BINARY, 0)
        except FileNotFoundError:  # just renamed
            return
        except PermissionError as error:
            log.warning(
                "cannot read rotated audit log, its events may be written again",
                file=str(path),
                error=error.strerror,
            )
            return
        with os.fdopen(descriptor, "rb") as file:
            yield from filter(None, _parse(file))

    def _read_current(self) -> Iterator[LoggedEvent]:
        unrecognised = 0
        with os.fdopen(self._ensure_open(), "rb", closefd=False) as file:
            file.seek(0)
            for event in _parse(file):
                if event is None:
                    unrecognised += 1
                else:
                    yield event
        if unrecognised:
            log.warning("unrecognised lines in audit log", file=self.name, lines=unrecognised)

    def _describe(self, problem: str) -> str:
        return f"audit log {self.name}: {problem}"


def _parse(file: BinaryIO) -> Iterator[LoggedEvent | None]:
    return parse_lines(iter(partial(file.readline, _MAX_LINE_BYTES), b""))
