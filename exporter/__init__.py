"""Prometheus exporter for the restore sessions of Veeam Backup for Microsoft 365."""

__version__ = "0.1.0"
