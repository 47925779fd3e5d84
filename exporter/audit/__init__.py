"""The audit log: who restored what, when, from where and why, as JSON lines in a file or on standard output."""

from exporter.audit.file import AuditFile
from exporter.audit.log import AuditLog
from exporter.audit.stream import StandardOutput

__all__ = ["AuditFile", "AuditLog", "StandardOutput"]
