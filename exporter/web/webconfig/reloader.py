"""Rereads the web configuration when its files have changed, without an explicit reload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import structlog

from exporter.config.problems import ConfigError, Problem
from exporter.threads import ThreadLimitError
from exporter.web.blocking import run_in_daemon_thread
from exporter.web.webconfig.loader import WebConfig, read_web_config

log = structlog.get_logger()

_Fingerprint: TypeAlias = tuple[int, int, int, int] | None

_READ_SECONDS = 2.0
"""How long requests wait for the files to be checked, and read if they have changed: a file system may not answer."""


class WebConfigReloader:
    """Reads a web configuration file, and rereads it when it or a file it names has changed.

    If the new configuration cannot be used, the old one is kept and the problems are logged once. The
    same applies to a change that would remove a protection: an empty file is valid, and a file is
    empty for a moment while it is written. `reload` accepts such a change.

    Args:
        path: the file; None: no web configuration.
        read: reads the file.
        stat: returns the status of a file.
        read_seconds: how long requests wait for the files to be checked and read; then the old configuration stays in force.

    Attributes:
        current: the configuration as of the last check of its files.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read: Callable[
            [Path, Callable[[Path], None], WebConfig | None], WebConfig
        ] = read_web_config,
        stat: Callable[[Path], os.stat_result] = os.stat,
        read_seconds: float = _READ_SECONDS,
    ) -> None:
        self._path = path
        self._read = read
        self._stat = stat
        self._read_seconds = read_seconds
        self._checking: asyncio.Future[None] | None = None
        self._is_stuck = False
        self._watched: dict[Path, _Fingerprint] = {}
        self.current = WebConfig()
        self._problems: tuple[Problem, ...] = ()
        self.reload()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the configuration is not that of the files; empty: it is."""
        if self._is_stuck:
            return (Problem(str(self._path), "its file system does not answer"),)
        return self._problems

    def reload(self) -> None:
        """Read the files immediately, changed or not, and use them; may be called from any thread.

        Raises:
            ConfigError: the files cannot be used; the old configuration is kept.
        """
        self.prepare()()

    def prepare(self) -> Callable[[], None]:
        """Read the files immediately, changed or not; return a function that activates what was read.

        Raises:
            ConfigError: the files cannot be used.
        """
        if self._path is None:
            return lambda: None
        watched: dict[Path, _Fingerprint] = {}
        config = self._read(self._path, partial(self._watch, watched), self.current)
        return partial(self._use, config, watched)

    def _use(self, config: WebConfig, watched: dict[Path, _Fingerprint]) -> None:
        for warning in config.warnings:
            log.warning("setting has no effect", place=warning.place, problem=warning.message)
        for problem in config.certificate_problems:
            log.error(
                "certificate cannot be used, keeping the old one",
                place=problem.place,
                problem=problem.message,
            )
        self._problems = config.certificate_problems
        self.current, self._watched = config, watched

    async def newest(self) -> WebConfig:
        """Check the files and return the current configuration. A check takes a third of a millisecond.

        They are checked, and read if they have changed, in a worker thread, by one request at a time; others wait for it.
        """
        if self._path is not None:
            if self._checking is None or self._checking.done():
                self._is_stuck = False
                self._checking = asyncio.ensure_future(self._check_in_thread())
            if not self._is_stuck:
                await self._wait_for(self._checking)
        return self.current

    async def _check_in_thread(self) -> None:
        try:
            await run_in_daemon_thread(self._check)
        except ThreadLimitError:
            if self._changed():
                raise

    def _check(self) -> None:
        if self._changed():
            self._follow()
        elif self._is_stuck:
            log.info("web configuration can be read again", file=str(self._path))
        self._is_stuck = False

    async def _wait_for(self, checking: asyncio.Future[None]) -> None:
        done, _ = await asyncio.wait((checking,), timeout=self._read_seconds)
        if done:
            checking.result()
        elif not self._is_stuck:
            self._is_stuck = True
            log.error(
                "web configuration cannot be read in time, keeping the old one",
                file=str(self._path),
            )

    def _changed(self) -> bool:
        return any(self._fingerprint(path) != before for path, before in self._watched.items())

    def _follow(self) -> None:
        assert self._path is not None  # noqa: S101 - narrows the type for mypy: without a file nothing changes
        watched: dict[Path, _Fingerprint] = {}
        try:
            changed = self._read(self._path, partial(self._watch, watched), self.current)
        except ConfigError as error:
            for problem in error.problems:
                log.error(  # noqa: TRY400 - the problems are the user's, a traceback would hide them
                    "web configuration cannot be used, keeping the old one",
                    file=str(self._path),
                    place=problem.place,
                    problem=problem.message,
                )
            self._problems = error.problems
        else:
            removed = self.current.protections - changed.protections
            if not removed:
                self._use(changed, watched)
                if not changed.certificate_problems:
                    log.info("web configuration reloaded", file=str(self._path))
                return
            log.error(
                "web configuration would remove a protection, keeping the old one until an explicit reload",
                file=str(self._path),
                protection=", ".join(sorted(removed)),
            )
            self._problems = (Problem(str(self._path), "would remove a protection"),)
        self._watched = watched

    def _watch(self, watched: dict[Path, _Fingerprint], path: Path) -> None:
        watched[path] = self._fingerprint(path)

    def _fingerprint(self, path: Path) -> _Fingerprint:
        """Return a value that differs once a file, or the target of a link, is changed or replaced; None: no file."""
        try:
            found = self._stat(path)
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
