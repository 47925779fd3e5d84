"""The command: flags to options, options to the one-shot commands or to the daemon."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import structlog

from exporter import logs
from exporter.config import Config, ConfigError, check_lines, load_config
from exporter.daemon import run_daemon
from exporter.flags import Options, parse
from exporter.systemd import NotActivatedError
from exporter.web.server import Address, WebServerError

__all__ = ["main"]

log = structlog.get_logger()


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
        return _serve_demo(options) if options.demo else run_daemon(options, _loader(options))
    except ConfigError as error:
        for problem in error.problems:
            log.error(  # noqa: TRY400 - the problems are the user's, a traceback would hide them
                "configuration cannot be used", place=problem.place, problem=problem.message
            )
    except (WebServerError, NotActivatedError) as error:
        log.error("cannot serve", error=str(error))  # noqa: TRY400 - the message says it all
    return 1


def _check(options: Options) -> int:
    """Tell every problem of the configuration, a line each."""
    errors, warnings = check_lines(options.config_file)
    for line in (*errors, *warnings):
        sys.stderr.write(f"{line}\n")
    return 1 if errors else 0


def _loader(options: Options) -> Callable[[], Config]:
    """What loads the configuration file, and tells of settings without effect."""

    def load() -> Config:
        config = load_config(options.config_file)
        for warning in config.warnings:
            log.warning("setting without effect", place=warning.place, problem=warning.message)
        return config

    return load


def _serve_demo(options: Options) -> int:
    # The daemon never loads the simulator; only the demo does.
    from exporter.demo import demo_config, introduction  # noqa: PLC0415

    with demo_config() as config:

        def introduce(address: Address) -> None:
            sys.stdout.write(introduction(str(address), options.web_telemetry_path, config))
            sys.stdout.flush()

        return run_daemon(options, lambda: config, introduce=introduce)
