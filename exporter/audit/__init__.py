"""The audit log: who restored what, when, from where and why, as JSON lines in a file or on standard output."""

from __future__ import annotations

from exporter.audit.log import AuditLog

__all__ = ["AuditLog"]
