"""`--report`: write evidence of the restores of a period, as the servers list them now."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from exporter.commands.fetching import fetch_all
from exporter.config import Config
from exporter.flags import ReportFormat
from exporter.report.collect import Scope, ServerEvidence, collect
from exporter.report.data import render_csv, render_json
from exporter.report.html_page import render_html
from exporter.report.summarize import FailedServer, Report, summarize
from exporter.system.files import atomic_write, check_writable, write_stdout
from exporter.vb365.errors import Reason, Vb365Error

log = structlog.get_logger()

_RENDERERS = {"html": render_html, "csv": render_csv, "json": render_json}


def write_report(
    config: Config,
    form: ReportFormat,
    stop: threading.Event,
    *,
    period_seconds: float,
    organizations: Sequence[str] = (),
    output_file: Path | None = None,
) -> int:
    """Write the report; return the exit status: 0 if every server's list is complete, else 1.

    The whole history is read, whatever `discover`, `ids` and limits are configured. A server whose list cannot be read
    completely is logged, and the report says that it is missing. So are records that cannot be read, but they do not
    change the exit status.

    Args:
        config: the servers, and the fields that may be shown.
        form: the format.
        stop: cancels the requests when set; nothing is then written.
        period_seconds: how far the report reaches back.
        organizations: the organizations to report on; empty for all.
        output_file: the file to replace, unless no server could be read; None for standard output.

    Raises:
        OutputError: the report cannot be written; raised before the requests if possible.
        ThreadLimitError: the process cannot have a thread for each server.
    """
    if output_file is not None:
        check_writable(output_file)
    now = datetime.now(UTC)
    scope = Scope(
        since=now - timedelta(seconds=period_seconds),
        until=now,
        organizations=tuple(organizations),
        info_labels=config.info_labels,
    )
    results = fetch_all(
        config.servers, stop, lambda server, client: collect(server, client, scope, stop)
    )
    if stop.is_set():
        log.warning("stopped before all sessions were listed, nothing written")
        return 1
    report = _report(scope, [server.name for server in config.servers], results)
    if output_file is not None and report.failed_servers and not report.servers:
        log.error("no server could be read, the report is not written", file=str(output_file))
        return 1
    chunks = _RENDERERS[form](report)
    if output_file is None:
        written = write_stdout(chunks)
    else:
        atomic_write(output_file, chunks)
        written = True
    return 0 if written and not report.failed_servers else 1


def _report(
    scope: Scope, names: Sequence[str], results: Mapping[str, ServerEvidence | Vb365Error]
) -> Report:
    found: list[ServerEvidence] = []
    failed: list[FailedServer] = []
    for name in names:
        result = results.get(name)
        if isinstance(result, ServerEvidence):
            found.append(result)
            continue
        # After a defect, which is in the log, there is no result.
        reason = Reason.INTERNAL if result is None else result.reason
        message = "see the log" if result is None else result.message
        failed.append(FailedServer(server=name, reason=reason, message=message))
        log.error("server missing from the report", server=name, reason=reason, error=message)
    report = summarize(scope, found, failed)
    for organization in report.unknown_organizations:
        log.warning("organization not known to any server", organization=organization)
    return report
