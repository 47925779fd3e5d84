"""What the operator reads: the process's log at the level info, from its own lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from exporter import logs

# The simulator's, which runs in the same process.
_OF_OTHERS = ("aiohttp", "asyncio")


class CapturedLog:
    """A log that is being written."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def entries(self) -> list[dict[str, Any]]:
        """The lines since the last `forget`, but for those of other programs."""
        entries = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [one for one in entries if not one.get("logger", "").startswith(_OF_OTHERS)]

    def events(self, server: str) -> tuple[str, ...]:
        """The events of a server, and what names none."""
        return tuple(
            entry["msg"] for entry in self.entries() if entry.get("server", server) == server
        )

    def forget(self) -> None:
        """Begin again."""
        self.stream.seek(0)
        self.stream.truncate()


@contextmanager
def capture_log() -> Iterator[CapturedLog]:
    """Log as the command does; afterwards everything about logging is as it was."""
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
