"""The entry point: maps flags to a command, and errors to an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import structlog

from exporter import logs
from exporter.commands.check_config import check_config
from exporter.commands.serve import serve
from exporter.config import Config, ConfigError, load_config
from exporter.config.sharding import select_shard
from exporter.flags import Options, parse
from exporter.system.failure import failure_status
from exporter.system.files import OutputError, open_standard_descriptors
from exporter.system.interpreter import raise_gc_threshold
from exporter.system.signals import stop_event
from exporter.system.systemd import NotActivatedError
from exporter.threads import ThreadLimitError
from exporter.web.listeners import WebServerError

log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 for success, 1 for failure; `--check-idle` has its own.

    Raises:
        SystemExit: 2 for wrong usage; 0 for `--help` and `--version`.
    """
    open_standard_descriptors()
    options = parse(sys.argv[1:] if arguments is None else arguments)
    logs.configure(level=options.log_level, log_format=options.log_format)
    logs.log_uncaught()
    raise_gc_threshold()
    try:
        if options.config_check:
            return check_config(options.config_file, options.web_config_file)
        with _config_source(options) as (load, on_listening):
            if options.serves:
                return serve(options, load, on_listening=on_listening)
            return _run_once(options, load())
    except ConfigError as error:
        for problem in error.problems:
            log.error(  # noqa: TRY400 - the problems are the user's, a traceback would hide them
                "configuration cannot be used", place=problem.place, problem=problem.message
            )
    except (WebServerError, NotActivatedError) as error:
        log.error("cannot serve", error=str(error))  # noqa: TRY400 - the message is complete
    except ThreadLimitError as error:
        log.error("cannot poll", error=str(error))  # noqa: TRY400 - the same
    except OutputError as error:
        log.error("cannot write", error=str(error))  # noqa: TRY400 - the same
    return failure_status(checks_idle=options.check_idle is not None)


def _config_source(
    options: Options,
) -> AbstractContextManager[tuple[Callable[[], Config], Callable[[str], None]]]:
    """Return the context of a function that loads the configuration, and of a callback for the exporter's base URL."""
    if options.demo:
        from exporter.commands.demo import demo  # noqa: PLC0415 - only the demo needs the simulator

        return demo(options.web_telemetry_path)
    return nullcontext((partial(_load, options), lambda _url: None))


def _load(options: Options) -> Config:
    """Load the configuration file and select this shard's servers."""
    config = load_config(options.config_file)
    for warning in config.warnings:
        log.warning("configuration warning", place=warning.place, problem=warning.message)
    config = select_shard(config, options.shard, options.total_shards)
    if not config.servers:
        log.warning(
            "no server belongs to this shard, nothing is polled",
            shard=options.shard,
            total_shards=options.total_shards,
        )
    return config


def _run_once(options: Options, config: Config) -> int:
    """Run a one-shot command until it finishes or is interrupted."""
    # Not at the top: `serve` does not need these modules.
    from exporter.commands.check_connection import check_connection  # noqa: PLC0415
    from exporter.commands.check_idle import check_idle  # noqa: PLC0415
    from exporter.commands.list_sessions import list_sessions  # noqa: PLC0415
    from exporter.commands.once import poll_once  # noqa: PLC0415
    from exporter.commands.report import write_report  # noqa: PLC0415

    with stop_event() as stop:
        if options.list_sessions is not None:
            return list_sessions(config, options.list_sessions, stop)
        if options.check_connection:
            if options.log_level in {"info", "warn"}:
                logs.set_level("error")  # its output has what the log would repeat
            return check_connection(config, stop)
        if options.check_idle is not None:
            return check_idle(config, options.check_idle, stop)
        if options.report is not None:
            return write_report(
                config,
                options.report,
                stop,
                period_seconds=options.report_since,
                organizations=options.report_organization,
                output_file=options.output_file,
            )
        return poll_once(config, options.output_file, stop, audit_log_file=options.audit_log_file)
