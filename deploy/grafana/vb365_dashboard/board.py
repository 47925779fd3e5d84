"""The dashboard: its variables, annotations and rows of panels, and its JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from vb365_dashboard import (
    UID,
    health,
    objectives,
    organizations,
    overview,
    restored,
    servers,
    sessions,
)
from vb365_dashboard.annotations import chart_annotations
from vb365_dashboard.look import folded_text
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
        .links(_links())
        .variables(variables())
    )
    for panel in (*overview.tiles(), *overview.charts()):
        builder.with_panel(panel)
    for title, panels in _rows().items():
        builder.with_row(building.Row(title))
        for panel in panels:
            builder.with_panel(panel)
    for title, content, panels in _folded_rows():
        builder.with_row(_folded_row(title, content, panels))
    built = builder.build()
    _close_gaps(built)
    for number, one in enumerate(_all_panels(built), 1):
        one.id_val = number
    charts = range(len(overview.tiles()) + 1, len(overview.tiles()) + len(overview.charts()) + 1)
    builder.annotations(chart_annotations(charts))
    return built


def _links() -> list[Builder[dashboard.DashboardLink]]:
    return [
        building.DashboardLink(title)
        .type(dashboard.DashboardLinkType.LINK)
        .icon(icon)
        .tooltip(tooltip)
        .url(url)
        .target_blank(target_blank=True)
        for title, icon, tooltip, url in (
            ("Alerts", "bolt", "Alert rules of restore sessions", "/alerting/list?search=Vb365"),
            (
                "Status page",
                "dashboard",
                "Address: vb365_status_page in the dashboard's settings",
                "${vb365_status_page}",
            ),
            (
                "Documentation",
                "doc",
                "Address: vb365_documentation in the dashboard's settings",
                "${vb365_documentation}",
            ),
        )
    ]


def _rows() -> dict[str, list[Builder[dashboard.Panel]]]:
    return {
        "Sessions": [sessions.open_sessions_table(), sessions.finished_sessions_table()],
        "Organizations and types": [
            organizations.by_organization(),
            organizations.last_proven_restores(),
            organizations.by_type(),
            organizations.started_by_organization(),
        ],
        "Servers and exporters": [
            servers.polls(),
            servers.versions(),
            *health.charts(),
            health.exporters(),
            health.scrapes(),
        ],
    }


def _folded_rows() -> list[tuple[str, str, list[Builder[dashboard.Panel]]]]:
    """Return title, text and panels of the rows that are empty by default."""
    return [
        (
            "What was restored (needs extras)",
            (
                "To fill this row, set `extras: [statistics, events]` under `sessions` of a server in the exporter's configuration. "
                "Statistics need VB365 8."
            ),
            [
                restored.totals_by_organization(),
                *restored.charts(),
                restored.items_by_organization(),
                restored.views_by_session(),
                restored.most_active_sessions(),
            ],
        ),
        (
            "Recovery objectives (needs thresholds)",
            (
                "To fill this row, load the exporter's recording rules into Prometheus and switch on the rows "
                "`vb365:restore_objective_threshold_seconds` in `vb365-thresholds.yml`: remove `unless vector(1)`."
            ),
            [objectives.by_organization(), objectives.by_type(), objectives.over_time()],
        ),
        (
            "Configured sessions (needs sessions.ids)",
            "To fill this row, list ids of restore sessions under `sessions.ids` of a server in the exporter's configuration.",
            [sessions.configured_sessions_table()],
        ),
        (
            "Change feed and failing extras (needs VB365 8 or extras)",
            (
                "The change feed needs VB365 8 and a server without `change_feed: never`. Extras need `extras: [statistics, events]` under "
                "`sessions` of a server in the exporter's configuration."
            ),
            list(health.optional_charts()),
        ),
    ]


def _folded_row(
    title: str, content: str, panels: list[Builder[dashboard.Panel]]
) -> Builder[dashboard.RowPanel]:
    row = building.Row(title).with_panel(folded_text(content).span(24).height(3))
    for panel in panels:
        row.with_panel(panel)
    return row


def _close_gaps(built: dashboard.Dashboard) -> None:
    """Move the folded rows, which come last, up to the row before: the library reserves the space of their panels."""
    folded = [
        one for one in built.panels or [] if isinstance(one, dashboard.RowPanel) and one.collapsed
    ]
    for number, row in enumerate(folded):
        gap = _y(row) - _y(folded[0]) - number
        for position in (row.grid_pos, *(panel.grid_pos for panel in row.panels)):
            if position is not None:
                position.y -= gap


def _y(row: dashboard.RowPanel) -> int:
    return row.grid_pos.y if row.grid_pos is not None else 0


def _all_panels(built: dashboard.Dashboard) -> Iterator[dashboard.Panel | dashboard.RowPanel]:
    for one in built.panels or []:
        yield one
        if isinstance(one, dashboard.RowPanel):
            yield from one.panels


def rendered() -> str:
    """Return the dashboard as Grafana's JSON."""
    return (
        JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(restore_dashboard()) + "\n"
    )
