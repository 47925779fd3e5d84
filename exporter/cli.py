"""The command: flags to options, options to the one-shot commands or to the daemon."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

import structlog

from exporter import __version__, logs
from exporter.config import Config, ConfigError, check_lines, load_config
from exporter.flags import Options, parse
from exporter.service import Service
from exporter.site import ServiceSite
from exporter.web.app import WebApp
from exporter.web.server import Address, WebServer, WebServerError, bind_listeners
from exporter.web.webconfig import Protection
from exporter.web.webconfig import check_lines as web_check_lines

__all__ = ["main"]

log = structlog.get_logger()

_DRAIN_SECONDS = 1.5
# Windows notices Ctrl-C only between waits.
_WAKE_SECONDS = 1.0
_EVERY_INTERFACE = {"::", "0.0.0.0"}  # noqa: S104 - read from what was bound, binds nothing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 ok, 1 failure.

    Raises:
        SystemExit: 2 for wrong usage; 0 for `--help` and `--version`.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.config_check:
        return _check(options)
    logs.configure(level=options.log_level, log_format=options.log_format)
    logs.log_uncaught()
    try:
        with _configuration(options) as config:
            return _serve(options, config)
    except ConfigError as error:
        for problem in error.problems:
            log.error(  # noqa: TRY400 - the problems are the user's, a traceback would hide them
                "configuration cannot be used", place=problem.place, problem=problem.message
            )
    except WebServerError as error:
        log.error("cannot serve", error=str(error))  # noqa: TRY400 - the message says it all
    return 1


def _check(options: Options) -> int:
    """Tell every problem of the configuration files, a line each."""
    errors, warnings = check_lines(options.config_file)
    if options.web_config_file is not None:
        errors += web_check_lines(options.web_config_file)
    for line in (*errors, *warnings):
        sys.stderr.write(f"{line}\n")
    return 1 if errors else 0


@contextmanager
def _configuration(options: Options) -> Iterator[Config]:
    """The configuration that is asked for, and what has to run for it."""
    if options.demo:
        # The daemon never loads the simulator; only the demo does.
        from exporter.demo import demo_config  # noqa: PLC0415

        source: AbstractContextManager[Config] = demo_config()
    else:
        source = nullcontext(load_config(options.config_file))
    with source as config:
        for warning in config.warnings:
            log.warning("setting without effect", place=warning.place, problem=warning.message)
        yield config


def _serve(options: Options, config: Config) -> int:
    """Poll and serve until a signal ends it."""
    with _stop_signals() as stop:
        protection = Protection(options.web_config_file)
        listeners = bind_listeners([str(address) for address in options.web_listen_address])
        service = Service(config)
        app = WebApp(
            ServiceSite(service),
            telemetry_path=options.web_telemetry_path,
            max_requests=options.web_max_requests,
            guards=[protection.guard],
            extra_headers=protection.headers,
        )
        web = WebServer(app, listeners, refuse=app.refuse, tls=protection.tls)
        web.start()
        log.info(
            "started",
            version=__version__,
            servers=len(config.servers),
            listening=",".join(map(str, web.addresses)),
            protected_by=", ".join(sorted(protection.kinds)) or "nothing",
        )
        if options.demo:
            scheme = "https" if "TLS" in protection.kinds else "http"
            _introduce(scheme, web.addresses[0], options, config)
        service.start()
        while not stop.wait(_WAKE_SECONDS):
            pass
        log.info("stopping")
        web.close(_DRAIN_SECONDS)
        service.stop()
        log.info("stopped")
    return 0


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduce(scheme: str, address: Address, options: Options, config: Config) -> None:
    """Say on standard output what there is to open."""
    host = "localhost" if address.host in _EVERY_INTERFACE else str(address).rpartition(":")[0]
    url = f"{scheme}://{host}:{address.port}"
    sys.stdout.write(
        "The demo polls a simulated VB365 every 2 s; restore sessions start, run and end while you watch.\n"
        f"  metrics          {url}{options.web_telemetry_path}\n"
        f"  status page      {url}/\n"
        f"  simulated VB365  {config.servers[0].url}\n"
        "Ctrl-C ends it.\n"
    )
    sys.stdout.flush()
