"""The Grafana dashboard of the exporter, as code: `python -m vb365_dashboard` writes its JSON."""

__all__ = ["UID"]

UID = "vb365-restore-sessions"
"""The dashboard's identifier in Grafana, part of its URL."""
