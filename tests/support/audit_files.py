"""Audit logs in tests: their content, their rotation, and failing disks."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.audit import AuditFile, AuditLog
from exporter.audit.file import SystemCalls
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import NOON

LONG_SECONDS = 60.0
"""Longer than any working step takes."""


def noon() -> float:
    """Return the time of a wall clock that does not move."""
    return NOON.timestamp()


def lines_of(*files: Path) -> list[dict[str, Any]]:
    """Parse the lines of audit logs; every one must be complete JSON in ASCII."""
    return lines_in(b"".join(file.read_bytes() for file in files))


def lines_in(content: bytes) -> list[dict[str, Any]]:
    """Parse the lines of an audit log's content; every one must be complete JSON in ASCII."""
    assert content.isascii()
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def events_of(*files: Path) -> list[tuple[str, str, str]]:
    """Return server, session id and event of each line, in their order."""
    return [(line["server"], line["id"], line["event"]) for line in lines_of(*files)]


def all_files(file: Path) -> list[Path]:
    """Return the file and its numbered predecessors, oldest first."""
    rotated = file.parent.glob(f"{file.name}.*")
    return [*sorted(rotated, key=lambda one: -int(one.suffix[1:])), file]


def rotate(file: Path) -> None:
    """Rotate as logrotate does with `nocreate` and without compression."""
    for one in all_files(file):
        number = 0 if one == file else int(one.suffix[1:])
        one.rename(file.with_name(f"{file.name}.{number + 1}"))


def audit_log(file: Path, *, disk: FailingDisk | None = None, **seams: Any) -> AuditLog:
    """Start an audit log in a file; by default no write may fail."""
    audit = AuditLog(
        AuditFile(file, calls=disk.calls if disk else None),
        **{"on_failure": unexpected, "timestamp": noon, "retry_seconds": 0.01, **seams},
    )
    audit.start()
    return audit


def write(file: Path, *sessions: RestoreSession, server: str = "hq", **seams: Any) -> None:
    """Start an audit log, record these sessions and close it."""
    audit = audit_log(file, **seams)
    audit.record(server, sessions)
    audit.close(LONG_SECONDS)


def unexpected() -> None:
    """Fail the test: no write was expected to fail."""
    raise AssertionError("a write failed")


class Failures:
    """Counts failures, and lets a test wait for them."""

    def __init__(self) -> None:
        self.count = 0
        self._more = threading.Semaphore(0)

    def __call__(self) -> None:
        self.count += 1
        self._more.release()

    def wait(self, number: int = 1) -> None:
        """Wait for `number` more failures."""
        for _ in range(number):
            assert self._more.acquire(timeout=LONG_SECONDS)


class FailingDisk:
    """System calls that fail, or do a part of their work and then fail, while a test wants it.

    Attributes:
        free_bytes: how many bytes can still be written; None for no limit.
        failing: error numbers by name of the call.
        names: the names of all calls so far.
        before_open: called before each file is opened.
        before_write: called before each write.
    """

    def __init__(self) -> None:
        self.free_bytes: int | None = None
        self.failing: dict[str, int] = {}
        self.names: list[str] = []
        self.before_open: Callable[[], object] = lambda: None
        self.before_write: Callable[[], object] = lambda: None
        self.calls = SystemCalls(
            open=self._open,
            read=self._read,
            write=self._write,
            truncate=self._truncate,
            sync=self._sync,
        )

    def _open(self, path: Path, flags: int, mode: int) -> int:
        self.before_open()
        self._call("open")
        return os.open(path, flags, mode)

    def _read(self, descriptor: int, size: int) -> bytes:
        self._call("read")
        return os.read(descriptor, size)

    def _write(self, descriptor: int, data: memoryview) -> int:
        self.before_write()
        self._call("write")
        if self.free_bytes is None:
            return os.write(descriptor, data)
        part = data[: self.free_bytes]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free_bytes -= len(part)
        return os.write(descriptor, part)

    def _truncate(self, descriptor: int, length: int) -> None:
        self._call("truncate")
        os.ftruncate(descriptor, length)

    def _sync(self, descriptor: int) -> None:
        self._call("sync")
        os.fsync(descriptor)

    def _call(self, name: str) -> None:
        self.names.append(name)
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))
