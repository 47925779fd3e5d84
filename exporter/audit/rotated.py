"""The files that were the audit log before: their names, what they tell, and when they may go.

The exporter names them `<file>.20261125T220422Z`. Those of logrotate (`<file>.1`, `<file>-20261125`, `.gz`) are read as well.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import structlog

from exporter.audit.record import Told, events_in

__all__ = ["new_name", "read_lines", "rotated_files", "told_in", "too_old"]

log = structlog.get_logger()

_OURS = re.compile(r"\.\d{8}T\d{6}Z(?:-\d+)?", re.ASCII)
_ANYBODYS = re.compile(r"[.-][0-9TZ.-]+(?:\.gz)?", re.ASCII)

# No line is longer; what is, is none, and must not fill the memory.
_LONGEST_LINE_BYTES = 2**20


def new_name(file: Path, timestamp: float) -> Path:
    """A name for the file that is not taken."""
    moment = datetime.fromtimestamp(timestamp, UTC)
    name = f"{file.name}.{moment:%Y%m%dT%H%M%SZ}"
    candidate, number = file.with_name(name), 1
    while candidate.exists():
        candidate, number = file.with_name(f"{name}-{number}"), number + 1
    return candidate


def rotated_files(file: Path) -> list[Path]:
    """All of them, whoever rotated.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(_named(file, _ANYBODYS))


def too_old(file: Path, *, kept: int, before: float) -> list[Path]:
    """Those of the exporter beside the `kept` newest that were written to last before a time (Unix seconds).

    Raises:
        OSError: the folder or a file cannot be read.
    """
    by_age = sorted((one.stat().st_mtime, one) for one in _named(file, _OURS))
    return [one for written, one in by_age[: max(0, len(by_age) - kept)] if written < before]


def told_in(file: Path) -> Iterator[Told]:
    """The events in one of them; one that may not be read or is damaged is told of and left.

    Raises:
        OSError: the disk is not well.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            yield from (one for one in events_in(read_lines(lines)) if one is not None)
    except (PermissionError, FileNotFoundError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        log.warning(
            "rotated audit log cannot be read, events in it may be written again",
            file=str(file),
            error=type(error).__name__,
        )


def read_lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """The lines of a file; one that is far too long comes in parts."""
    while line := file.readline(_LONGEST_LINE_BYTES):
        yield line


def _named(file: Path, ending: re.Pattern[str]) -> Iterator[Path]:
    for one in file.parent.iterdir():
        if one.name.startswith(file.name) and ending.fullmatch(one.name[len(file.name) :]):
            yield one
