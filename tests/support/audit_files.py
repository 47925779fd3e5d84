"""Audit logs for tests: what stands in them, and disks that fail."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.audit.disk import Disk
from exporter.audit.log import AuditLog
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import NOON

LONG_SECONDS = 60.0
"""Longer than anything takes that works."""


def noon() -> float:
    """A wall clock that stands still."""
    return NOON.timestamp()


def lines_of(*files: Path) -> list[dict[str, Any]]:
    """The lines of audit logs; every one must be JSON, whole and in ASCII."""
    content = b"".join(file.read_bytes() for file in files)
    assert content.isascii()
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def events_of(*files: Path) -> list[tuple[str, str, str]]:
    """Server, session and event of each line, in their order."""
    return [(line["server"], line["id"], line["event"]) for line in lines_of(*files)]


def all_files(file: Path) -> list[Path]:
    """The file and those it was before, oldest first."""
    return [*sorted(file.parent.glob(f"{file.name}.*")), file]


def write(file: Path, *sessions: RestoreSession, server: str = "hq", **seams: Any) -> None:
    """One life of an exporter that is told of these sessions, in one go."""
    audit = AuditLog(file, **{"failed": unexpected, "timestamp": noon, **seams})
    audit.start()
    audit.record(server, sessions)
    audit.close(LONG_SECONDS)


def unexpected() -> None:
    """A failure that must not be."""
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
        """Until there were so many more."""
        for _ in range(number):
            assert self._more.acquire(timeout=LONG_SECONDS)


class BadDisk(Disk):
    """A disk of which a call fails as long as it is asked to, after it has done a part of its work."""

    def __init__(self) -> None:
        self.free_bytes: int | None = None
        self.failing: dict[str, int] = {}
        self.calls: list[str] = []
        self.before_write: Callable[[], object] = lambda: None

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self.before_write()
        self._call("write")
        if self.free_bytes is None:
            return super().write(descriptor, data)
        part = data[: self.free_bytes]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free_bytes -= len(part)
        return super().write(descriptor, part)

    def sync(self, descriptor: int) -> None:
        self._call("sync")
        super().sync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        self._call("truncate")
        super().truncate(descriptor, length)

    def open(self, path: Path) -> tuple[int, bool]:
        self._call("open")
        return super().open(path)

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        self._call("read")
        return super().read(descriptor, offset, size)

    def rename(self, path: Path, target: Path) -> None:
        self._call("rename")
        super().rename(path, target)

    def lock(self, descriptor: int) -> bool:
        self._call("lock")
        return super().lock(descriptor)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))
