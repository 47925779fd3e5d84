"""Connects a service to the audit log, if one is configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.audit import AuditFile, AuditLog, StandardOutput
from exporter.service.service import Service

_STANDARD_OUTPUT = Path("-")


@contextmanager
def audited(service: Service, target: Path | None, *, close_seconds: float) -> Iterator[None]:
    """Write the starts and ends of sessions to the audit log, from before the service starts until it has stopped.

    Args:
        service: the service, not started yet.
        target: the file, `-` for standard output; None for no audit log.
        close_seconds: the maximum time for writing the last lines.

    Raises:
        OutputError: the log cannot be written and a retry would not help.
    """
    if target is None:
        yield
        return
    audit = AuditLog(
        StandardOutput() if target == _STANDARD_OUTPUT else AuditFile(target),
        on_failure=service.telemetry.audit_write_failed,
        timestamp=service.clock.timestamp,
    )
    audit.start()
    service.on_changed = audit.record
    service.audit = audit
    try:
        yield
    finally:
        service.audit = None
        audit.close(close_seconds)
