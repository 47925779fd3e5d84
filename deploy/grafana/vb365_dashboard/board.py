"""The dashboard: its variables, annotations and rows of panels, and its JSON."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from vb365_dashboard import UID, health, organizations, overview, restored, sessions
from vb365_dashboard.annotations import chart_annotations
from vb365_dashboard.variables import variables

__all__ = ["JSON_FILE", "rendered", "restore_dashboard"]

JSON_FILE = Path(__file__).parents[1] / "dashboards" / f"{UID}.json"

_DESCRIPTION = "Restore sessions of Veeam Backup for Microsoft 365, and the health of the exporter that monitors them."


def restore_dashboard() -> dashboard.Dashboard:
    """Return the whole dashboard."""
    builder = (
        building.Dashboard("VB365 restore sessions")
        .uid(UID)
        .description(_DESCRIPTION)
        .tags(["vb365", "veeam", "restore", "backup"])
        .timezone("browser")
        .time("now-24h", "now")
        .refresh("1m")
        .editable()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .variables(variables())
    )
    for panel in (*overview.tiles(), *overview.charts()):
        builder.with_panel(panel)
    rows: dict[str, list[Builder[dashboard.Panel]]] = {
        "Sessions": [sessions.open_sessions_table(), sessions.finished_sessions_table()],
        "Organizations and types": [
            organizations.by_organization(),
            organizations.started_by_organization(),
            organizations.by_type(),
        ],
        "What was restored": [
            *restored.charts(),
            restored.items_by_organization(),
            restored.views_by_session(),
            restored.most_active_sessions(),
        ],
        "Exporter": [
            health.servers(),
            *health.charts(),
            *health.extra_charts(),
            health.exporters(),
            health.scrapes(),
        ],
    }
    for title, panels in rows.items():
        builder.with_row(building.Row(title))
        for panel in panels:
            builder.with_panel(panel)
    built = builder.build()
    for number, one in enumerate(built.panels or [], 1):
        one.id_val = number
    charts = range(len(overview.tiles()) + 1, len(overview.tiles()) + len(overview.charts()) + 1)
    builder.annotations(chart_annotations(charts))
    return built


def rendered() -> str:
    """Return the dashboard as Grafana's JSON."""
    return (
        JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(restore_dashboard()) + "\n"
    )
