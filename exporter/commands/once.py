"""`--once`: poll every server once and write the metrics, for node_exporter's textfile collector."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from exporter.config import Config
from exporter.metrics.telemetry import Telemetry
from exporter.metrics.text_format import Format
from exporter.service.audit_trail import audited
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from exporter.system.files import atomic_write, check_writable, write_stdout

log = structlog.get_logger()

# Includes reading what earlier runs wrote, which may be hundreds of thousands of lines.
_AUDIT_SECONDS = 60.0


def poll_once(
    config: Config,
    output_file: Path | None,
    stop: threading.Event,
    *,
    audit_log_file: Path | None = None,
    make_worker: Callable[..., ServerWorker] = ServerWorker,
) -> int:
    """Poll all servers and write the metrics; return the exit status: 0 if every poll was complete, else 1.

    A failed server's metrics include `vb365_up` 0. Families without a server label are omitted: node_exporter has
    `process_*` and `python_*` itself, and several files in its directory must not have the same series. Nothing is
    written if `stop` is set before the polls have finished, or if a poll was not completed because of a defect or a lack of
    memory.

    Args:
        config: the servers to poll.
        output_file: the file to replace; None for standard output.
        stop: cancels the polls when set.
        audit_log_file: as for `audited`.
        make_worker: as for `Service`.

    Raises:
        OutputError: the output or the audit log cannot be written; raised before the polls if possible.
    """
    if output_file is not None:
        check_writable(output_file)
    service = Service(config, telemetry=Telemetry(servers_only=True), make_worker=make_worker)
    with audited(service, audit_log_file, close_seconds=_AUDIT_SECONDS):
        complete = service.poll_once(stop)
        service.stop()
    if stop.is_set():
        log.warning("stopped before the poll finished, nothing written")
        return 1
    if unpolled := service.unpolled_servers():
        log.error("poll not completed, nothing written", servers=",".join(unpolled))
        return 1
    chunks = service.publisher.exposition(Format.TEXT).chunks(gzip=False)
    if output_file is None:
        complete &= write_stdout(chunks)
    else:
        atomic_write(output_file, chunks)
    return 0 if complete else 1
