"""Files as they were when they were read, to tell later at the cost of a stat whether one has changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

__all__ = ["FileWatcher"]

_Mark: TypeAlias = tuple[int, int, int, int] | None


class FileWatcher:
    """Remembers files; a file that cannot be found is remembered as that."""

    def __init__(self) -> None:
        self._marks: dict[Path, _Mark] = {}

    def add(self, path: Path) -> Path:
        """Remember the file as it is now; to be called before it is read."""
        self._marks[path] = _mark(path)
        return path

    def changed(self) -> bool:
        """Tell whether any of the files is another one now."""
        return any(_mark(path) != mark for path, mark in self._marks.items())


def _mark(path: Path) -> _Mark:
    """What a new content or a new file in its place changes; symbolic links are followed."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the cost of Path.stat, on every request
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
