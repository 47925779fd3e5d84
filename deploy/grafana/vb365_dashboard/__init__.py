"""The Grafana dashboard of the exporter, as code: `python -m vb365_dashboard` writes its JSON."""

__all__ = ["UID"]

UID = "vb365-restore-sessions"
"""What Grafana knows the dashboard by, in its addresses too."""
