"""Has what a service learns of sessions written to the audit log, where one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.audit import AuditLog
from exporter.service.service import Service

__all__ = ["auditing"]

_STANDARD_OUTPUT = Path("-")


@contextmanager
def auditing(service: Service, target: Path | None, *, close_seconds: float) -> Iterator[None]:
    """Write the sessions of a service that began or ended, from before it starts until after it has stopped.

    Args:
        service: whose sessions they are.
        target: the file, `-` for standard output; None for no audit log.
        close_seconds: how long the last lines may take.

    Raises:
        OutputError: the log cannot be written to, for a reason that does not go by itself.
    """
    if target is None:
        yield
        return

    def longest_lookback_seconds() -> float:
        return max((server.sessions.lookback for server in service.config.servers), default=0.0)

    audit = AuditLog(
        None if target == _STANDARD_OUTPUT else target,
        failed=service.telemetry.audit_write_failed,
        timestamp=service.clock.timestamp,
        lookback_seconds=longest_lookback_seconds,
    )
    audit.start()
    service.on_changed = audit.record
    try:
        yield
    finally:
        audit.close(close_seconds)
