"""The web configuration in force, which follows its files without a reload."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from exporter.config.problems import ConfigError
from exporter.web.webconfig.loader import LoadResult, WebConfig, read_web_config
from exporter.web.webconfig.watch import FileWatcher

__all__ = ["WebConfigReloader"]

log = structlog.get_logger()


class WebConfigReloader:
    """Reads a web configuration file, and again when it or a file it names has changed.

    What cannot be used leaves the old configuration in force and is logged once. So does a change
    that would remove a protection: an empty file is a valid one, and a file that is being written
    is empty for a moment. `reload` lets such a change in.

    Args:
        path: the file; None: there is none, and nothing is asked for.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._state = (WebConfig(), FileWatcher())
        self._reading = asyncio.Lock()
        self.reload()

    @property
    def current(self) -> WebConfig:
        """What was in force when it was last looked at."""
        return self._state[0]

    def reload(self) -> None:
        """Read the files now, whether they have changed or not; may be called from any thread.

        Raises:
            ConfigError: they cannot be used; the old configuration stays in force.
        """
        if self._path is None:
            return
        reading = read_web_config(self._path)
        if reading.config is None:
            raise ConfigError(reading.problems)
        self._state = (reading.config, reading.watch)

    async def newest(self) -> WebConfig:
        """What is in force now: costs a stat per file, and a thread's work when one has changed."""
        if self._changed():
            async with self._reading:
                if self._changed():  # and nobody has read it in the meantime
                    await asyncio.to_thread(self._follow)
        return self.current

    def _changed(self) -> bool:
        return self._state[1].changed()

    def _follow(self) -> None:
        assert self._path is not None  # noqa: S101 - tells mypy; without a file nothing changes
        reading = read_web_config(self._path)
        config = reading.config
        if config is None:
            self._log_problems(reading)
        elif lost := self.current.protections - config.protections:
            log.error(
                "web configuration would remove a protection, keeping the old one until an explicit reload",
                file=str(self._path),
                protection=", ".join(sorted(lost)),
            )
            config = None
        else:
            log.info("web configuration read again", file=str(self._path))
        self._state = (config or self.current, reading.watch)

    def _log_problems(self, reading: LoadResult) -> None:
        for problem in reading.problems:
            log.error(
                "web configuration cannot be used, keeping the old one",
                file=str(self._path),
                place=problem.place,
                problem=problem.message,
            )
