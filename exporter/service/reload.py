"""Reloads: all configuration files are loaded, and activated only if all are valid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from exporter.config import Config, ConfigError
from exporter.service.service import Service
from exporter.system.systemd import Notifier
from exporter.threads import ThreadLimitError
from exporter.web.webconfig.reloader import WebConfigReloader

log = structlog.get_logger()

_STEP_SECONDS = 10.0
"""A step of a reload that takes longer is reported: a file system may not answer."""
_ACTIVATING = "activating the configuration"


class Reloader:
    """Reloads the configuration of a service and of its web server. Thread-safe; reloads never overlap.

    Args:
        service: the service to reconfigure.
        load: loads the configuration, or raises ConfigError.
        web_config: the configuration of its web server.
        notifier: reports the reload to systemd.
        monotonic: the clock of a reload's steps, in seconds.
    """

    def __init__(
        self,
        service: Service,
        load: Callable[[], Config],
        web_config: WebConfigReloader,
        notifier: Notifier,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._load = load
        self._web_config = web_config
        self._notifier = notifier
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last_problems: tuple[str, ...] = ()
        self._step_lock = threading.Lock()  # guards the next three
        self._step = ""
        self._step_since = 0.0
        self._is_stuck = False

    @property
    def problem(self) -> str:
        """Why the active configuration differs from the files; empty if it does not."""
        if self._is_stuck:
            return f"reload does not end: {self._step}"
        if self._last_problems:
            return f"last reload failed: {self._last_problems[0]}"
        if problems := self._web_config.problems:
            return f"web configuration not in use: {problems[0]}"
        return ""

    def check_progress(self) -> None:
        """Report a step of a reload that does not end. Call it about once a second."""
        with self._step_lock:
            seconds = self._monotonic() - self._step_since
            if not self._step or self._is_stuck or seconds < _STEP_SECONDS:
                return
            self._is_stuck = True
            log.error("reload does not end, further reloads wait for it", step=self._step)
            if self._step != _ACTIVATING:  # a successful activation reports itself in the metrics
                self._service.keep_current()

    def reload(self) -> tuple[str, ...]:
        """Load and activate the configuration; return a line for each problem that prevents it."""
        with self._lock:
            self._notifier.reloading()
            problems: tuple[str, ...] = ()
            try:
                self._load_and_apply()
            except ConfigError as error:
                for problem in error.problems:
                    log.error(  # noqa: TRY400 - the problems are the user's, a traceback would hide them
                        "configuration cannot be used, keeping the old one",
                        place=problem.place,
                        problem=problem.message,
                    )
                problems = tuple(map(str, error.problems))
            except ThreadLimitError as error:
                log.error("configuration cannot be used, keeping the old one", problem=str(error))  # noqa: TRY400 - the message is complete
                problems = (str(error),)
            except Exception as error:
                log.exception("configuration not reloaded, keeping the old one")
                problems = (f"internal: {type(error).__name__}",)
            if problems:
                self._service.keep_current()
            self._last_problems = problems
            self._begin("")
            self._notifier.ready()
            return problems

    def _load_and_apply(self) -> None:
        self._begin("reading the configuration")
        config = self._load()
        self._begin("reading the web configuration")
        activate_web_config = self._web_config.prepare()
        self._begin(_ACTIVATING)
        changes = self._service.apply(config)
        activate_web_config()
        log.info(
            "configuration reloaded",
            servers=len(config.servers),
            **{change: ",".join(names) for change, names in changes.items() if names},
        )

    def _begin(self, step: str) -> None:
        """Begin a step of the reload; with an empty one, it has ended."""
        with self._step_lock:
            self._step, self._step_since, self._is_stuck = step, self._monotonic(), False
