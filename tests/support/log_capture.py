"""Capture the process's log at level info, as an operator reads it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from exporter import logs

# Loggers of the simulator, which runs in the same process.
_FOREIGN_LOGGERS = ("aiohttp", "asyncio")


class CapturedLog:
    """A log that is being captured."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def entries(self) -> list[dict[str, Any]]:
        """Return the exporter's own entries since the last `clear`."""
        entries = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [one for one in entries if not one.get("logger", "").startswith(_FOREIGN_LOGGERS)]

    def events(self, server: str) -> tuple[str, ...]:
        """Return the events of one server and those without a server."""
        return tuple(
            entry["msg"] for entry in self.entries() if entry.get("server", server) == server
        )

    def clear(self) -> None:
        """Drop the captured lines."""
        self.stream.seek(0)
        self.stream.truncate()


@contextmanager
def capture_log() -> Iterator[CapturedLog]:
    """Configure logging as the command does, and restore it at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log = CapturedLog()
    logs.configure(level="info", log_format="json", stream=log.stream)
    try:
        yield log
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
