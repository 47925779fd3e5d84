"""The variables at the top of the dashboard."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from vb365_dashboard.look import DATASOURCE, TYPES
from vb365_dashboard.promql import SELECTED

__all__ = ["variables"]

_ALL = dashboard.VariableOption(text=["All"], value=["$__all"], selected=True)
# Also matches series without the label, and organizations added since the list was queried.
_ALL_MATCHER = ".*"


def _of_label(label: str, title: str, description: str, metric: str) -> building.QueryVariable:
    return (
        building.QueryVariable(label)
        .label(title)
        .description(description)
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": f"label_values({metric}, {label})", "refId": label})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(_ALL_MATCHER)
        .current(_ALL)
    )


def variables() -> list[Builder[dashboard.VariableModel]]:
    """Return the variables: data source, servers, organizations, types, and the suffix of links to VB365."""
    return [
        building.DatasourceVariable("datasource")
        .label("Data source")
        .description("Prometheus or a compatible database: Mimir, Thanos, VictoriaMetrics.")
        .type("prometheus")
        .current(dashboard.VariableOption(text="default", value="default", selected=True)),
        _of_label("server", "Server", "VB365 servers by their configured names.", "vb365_up"),
        _of_label(
            "organization",
            "Organization",
            "Sessions without an organization appear only under All.",
            f"vb365_restore_sessions_working{{{SELECTED['server']}}}",
        ),
        building.CustomVariable("type")
        .label("Type")
        .description("Type of the restored data.")
        .values(", ".join(f"{text} : {value}" for value, (text, _) in TYPES.items()))
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(_ALL_MATCHER)
        .current(_ALL),
        building.ConstantVariable("vb365_address_suffix")
        .description(
            "Suffix of a server's name in links to VB365: the port of its REST API and Restore Portal."
        )
        .value(":4443"),
    ]
