"""The variables at the top of the dashboard, and the constants in its settings."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from vb365_dashboard.look import DATASOURCE, RESULTS, TYPES
from vb365_dashboard.promql import INSTANCE, JOB, SELECTED

__all__ = ["variables"]

_ALL = dashboard.VariableOption(text=["All"], value=["$__all"], selected=True)
# Also matches series without the label, and organizations added since the list was queried.
_ALL_MATCHER = ".*"
# Every scraped series has a job and an instance; Grafana's dashboard linter asks for this value.
_EVERY_SCRAPE = ".+"


def _of_label(
    label: str, title: str, description: str, metric: str, every: str = _ALL_MATCHER
) -> building.QueryVariable:
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
        .all_value(every)
        .current(_ALL)
    )


def _of_words(label: str, title: str, description: str, words: str) -> building.CustomVariable:
    return (
        building.CustomVariable(label)
        .label(title)
        .description(description)
        .values(words)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(_ALL_MATCHER)
        .current(_ALL)
    )


def variables() -> list[Builder[dashboard.VariableModel]]:
    """Return the variables: data source, what to select, and the addresses that links start with."""
    return [
        building.DatasourceVariable("datasource")
        .label("Data source")
        .description("Prometheus or a compatible database: Mimir, Thanos, VictoriaMetrics.")
        .type("prometheus")
        .current(dashboard.VariableOption(text="default", value="default", selected=True)),
        _of_label(
            "job",
            "Job",
            "Scrape jobs with exporters of restore sessions.",
            "vb365_up",
            _EVERY_SCRAPE,
        ),
        _of_label(
            "instance",
            "Instance",
            "Exporter instances. History rules have no instance: a selection does not limit them.",
            f"vb365_up{{{JOB}}}",
            _EVERY_SCRAPE,
        ),
        _of_label(
            "server",
            "Server",
            "VB365 servers by their configured names.",
            f"vb365_up{{{JOB}, {INSTANCE}}}",
        ),
        _of_label(
            "organization",
            "Organization",
            "Sessions without an organization appear only under All.",
            f"vb365_restore_sessions_working{{{JOB}, {INSTANCE}, {SELECTED['server']}}}",
        ),
        _of_words(
            "type",
            "Type",
            "Type of the restored data.",
            ", ".join(f"{text} : {value}" for value, (text, _) in TYPES.items()),
        ),
        _of_words(
            "result",
            "Result",
            "Result of finished sessions, in the chart of restores per hour and the table of finished sessions.",
            ", ".join(RESULTS),
        ),
        building.ConstantVariable("vb365_address_suffix")
        .description(
            "Suffix of a server's name in links to VB365: the port of its REST API and Restore Portal."
        )
        .value(":4443"),
        building.ConstantVariable("vb365_status_page")
        .description("Address of the exporter's status page, as a browser reaches it.")
        .value("http://localhost:10365/"),
        building.ConstantVariable("vb365_documentation")
        .description("Address of your copy of the exporter's documentation and runbooks.")
        .value("https://wiki.example.com/vb365/"),
    ]
