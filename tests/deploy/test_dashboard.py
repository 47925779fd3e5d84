"""The shipped dashboard matches its source and uses only metrics of the exporter."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.vb365.records.extras import EventOperation
from exporter.vb365.records.restore_session import SessionResult, SessionState, SessionType
from support.grafana_queries import Query, dashboard, interpolated, panels, queries
from vb365_dashboard import UID
from vb365_dashboard.board import JSON_FILE, rendered
from vb365_dashboard.look import RESULTS, TYPES
from vb365_dashboard.promql import LABELS, RULES

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"

# What Prometheus and the client library add; no job's name, which users choose.
OTHERS = {
    "scrape_duration_seconds": {"instance", "job"},
    "process_resident_memory_bytes": {"instance", "job"},
}
OF_SCRAPES = {"instance", "job"}
API_OPERATIONS = {"token", "service_instance", "list", "get", "statistics", "events"}
VALUES: dict[str, set[str]] = {
    "result": set(SessionResult),
    "state": set(SessionState),
    "operation": set(EventOperation) | API_OPERATIONS,
    "type": set(SessionType),
    "outcome": {"restored", "failed", "skipped"},
}

every_query = pytest.mark.parametrize("query", queries(), ids=str)


def every(*kinds: str) -> pytest.MarkDecorator:
    """All panels of these kinds, one after the other."""
    found = [panel for panel in panels() if panel["type"] in kinds]
    return pytest.mark.parametrize("panel", found, ids=[panel["title"] for panel in found])


def test_the_shipped_dashboard_is_that_of_its_source() -> None:
    assert rendered() == JSON_FILE.read_text(encoding="utf-8"), "run: make dashboard"


@every_query
def test_a_query_names_only_metrics_and_labels_of_the_exporter(query: Query) -> None:
    expression = interpolated(query.expression)
    metrics = re.findall(r"(?<![\w:])(?:\w+:)?(?:vb365|process|scrape)[_:][\w:]+", expression)

    assert [name for name in metrics if name not in LABELS and name not in OTHERS] == []
    for name, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", expression):
        for label, value in re.findall(r"(\w+)=~?[`\"]([^`\"]*)[`\"]", matchers):
            assert label in {*LABELS.get(name, ()), *OF_SCRAPES}, name
            assert value in {".*", ".+"} or set(value.split("|")) <= VALUES[label]
    known = OF_SCRAPES.union(*(LABELS.get(name, OTHERS.get(name, ())) for name in metrics))
    for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression):
        assert set() == set(group.split(", ")) - known


@every_query
def test_a_legend_names_only_labels_that_the_query_keeps(query: Query) -> None:
    grouped = re.search(r"by \(([^)]*)\)", query.expression)
    kept = set(grouped[1].split(", ")) if grouped else set()

    assert set() == set(re.findall(r"{{(\w+)}}", query.legend)) - kept


@every_query
def test_a_query_knows_no_job_by_name(query: Query) -> None:
    assert not re.search(r"\b(job|instance)\s*(=|!)(?!~\"\$(job|instance)\")", query.expression)


def test_recording_rules_are_shipped() -> None:
    shipped = {
        rule["record"]
        for file in (GRAFANA.parent / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }

    assert set(RULES) <= shipped


@every("stat", "timeseries", "table")
def test_a_panel_has_a_description_and_uses_the_selected_data_source(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["description"].endswith(".")
    assert len(panel["targets"]) == len({target["refId"] for target in panel["targets"]})


@every("timeseries", "table")
def test_a_panel_with_opt_in_data_names_the_key_that_enables_it(panel: dict[str, Any]) -> None:
    queries = " ".join(target["expr"] for target in panel["targets"])
    keys = {
        "statistics": "vb365_restore_session_items",
        "events": "vb365_restore_session_event",
        "extras: [statistics": "vb365_restored_items_total",
        "extras": "vb365_extras_failures_total",
        "change_feed: never": "vb365_change_feed_",
    }

    for key, metric in keys.items():
        if metric in queries:
            assert key in panel["description"]
    if any(metric in queries for metric in list(keys.values())[:4]):
        assert re.search(
            r"extras: \[[a-z, ]+\] in the exporter's configuration", panel["description"]
        )


@every("timeseries")
def test_a_chart_without_data_shows_no_data(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["noValue"] == "No data"


@every("stat")
def test_a_tile_shows_the_current_state_or_no_data(panel: dict[str, Any]) -> None:
    assert all(target["instant"] for target in panel["targets"])
    assert panel["fieldConfig"]["defaults"]["noValue"] == "No data"


@every("table")
def test_a_table_names_every_column_and_hides_the_time(panel: dict[str, Any]) -> None:
    merge, organize = panel["transformations"]
    order = organize["options"]["indexByName"]
    named = [one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]]

    assert merge["id"] == "merge"
    assert organize["options"]["excludeByName"] == {"Time": True}
    assert named == sorted(order, key=order.__getitem__)
    assert [name for name in named if name.startswith("Value #")] == [
        f"Value #{target['refId']}" for target in panel["targets"]
    ]
    labels = {name for name in named if not name.startswith("Value #")}
    for target in panel["targets"]:
        grouped = re.search(r"by \(([^)]*)\)", target["expr"])
        assert grouped is not None
        assert labels == set(grouped[1].split(", "))


def cells_of(shown: list[dict[str, Any]]) -> dict[int, set[tuple[int, int]]]:
    """The cells of the grid that each panel covers."""
    return {
        panel["id"]: {
            (x, y)
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        }
        for panel in shown
    }


def test_panels_do_not_overlap_and_fill_the_width() -> None:
    """When the dashboard opens, and within each folded row."""
    opened = dashboard()["panels"]
    folded = [[row, *row["panels"]] for row in opened if row.get("panels")]

    assert len(panels()) == len({panel["id"] for panel in panels()})
    for shown in (opened, *folded):
        cells = cells_of(shown)
        assert [pair for pair in combinations(cells, 2) if cells[pair[0]] & cells[pair[1]]] == []
        taken = set[tuple[int, int]]().union(*cells.values())
        rows = [y for _, y in taken]
        assert taken == {(x, y) for x in range(24) for y in range(min(rows), max(rows) + 1)}


def test_a_folded_row_says_what_fills_it() -> None:
    folded = [row for row in dashboard()["panels"] if row.get("collapsed")]

    assert len(folded) == 4
    for row in folded:
        assert "(needs " in row["title"]
        text, *others = row["panels"]
        assert text["type"] == "text"
        assert "`" in text["options"]["content"]
        assert others


@every("stat", "timeseries", "table")
def test_a_title_is_not_cut_at_1440_pixels(panel: dict[str, Any]) -> None:
    """Estimated: 8.5 pixels a character, 60 for the margins, the icon of the description and the menu."""
    width = panel["gridPos"]["w"] * 1392 / 24

    assert len(panel["title"]) * 8.5 + 60 <= width


@every("table")
def test_a_header_of_a_column_is_not_cut_at_1440_pixels(panel: dict[str, Any]) -> None:
    """Estimated: 7.5 pixels a character, 16 for the margins, 20 for the icon of the filter."""
    columns = [
        {one["id"].removeprefix("custom."): one["value"] for one in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    ]
    fixed = [one["width"] for one in columns if "width" in one]
    rest = panel["gridPos"]["w"] * 1392 / 24 - sum(fixed)
    flexible = [one.get("minWidth", 60) for one in columns if "width" not in one]

    assert sum(flexible) <= rest
    for one in columns:
        width = one.get("width") or max(one.get("minWidth", 60), rest / len(flexible))
        icon = 20 if one.get("filterable", True) else 0
        assert len(one["displayName"]) * 7.5 + 16 + icon <= width, one["displayName"]


@every("timeseries")
def test_a_chart_starts_at_0(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["min"] == 0


def test_restores_are_bars_of_an_hour_by_result() -> None:
    (panel,) = (one for one in panels() if one.get("title") == "Restores per hour by result")

    assert panel["fieldConfig"]["defaults"]["custom"]["drawStyle"] == "bars"
    assert {target["interval"] for target in panel["targets"]} == {"1h"}
    assert {target["legendFormat"] for target in panel["targets"]} == set(SessionResult)


def test_the_dashboard_links_to_alerts_status_page_and_documentation() -> None:
    shipped = dashboard()
    constants = {
        f"${{{one['name']}}}" for one in shipped["templating"]["list"] if one["type"] == "constant"
    }
    links = {link["title"]: link["url"] for link in shipped["links"]}

    assert list(links) == ["Alerts", "Status page", "Documentation"]
    assert links["Alerts"].startswith("/alerting/list")
    assert {links["Status page"], links["Documentation"]} <= constants


def test_every_type_and_result_has_a_word_and_a_colour() -> None:
    (variable,) = (one for one in dashboard()["templating"]["list"] if one["name"] == "type")

    assert set(SessionType) == set(TYPES)
    assert set(SessionResult) == set(RESULTS)
    assert variable["query"].split(", ") == [
        f"{text} : {value}" for value, (text, _) in TYPES.items()
    ]


def test_annotations_stand_on_the_charts_of_sessions() -> None:
    shipped = dashboard()
    charts = [
        panel["id"]
        for panel in shipped["panels"]
        if panel["type"] == "timeseries" and panel["gridPos"]["y"] < 10
    ]

    assert [one["filter"] for one in shipped["annotations"]["list"]] == [
        {"exclude": False, "ids": charts}
    ] * 2


def test_provisioning_loads_the_dashboards_and_the_data_source_they_ask() -> None:
    def provisioned(kind: str) -> list[dict[str, Any]]:
        (file,) = (GRAFANA / "provisioning" / kind).glob("*.yml")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert content["apiVersion"] == 1
        found: list[dict[str, Any]] = content["providers" if kind == "dashboards" else kind]
        return found

    (source,) = provisioned("datasources")
    (provider,) = provisioned("dashboards")
    (variable,) = (one for one in dashboard()["templating"]["list"] if one["name"] == "datasource")
    scrape = yaml.safe_load((GRAFANA.parent / "prometheus" / "prometheus.yml").read_text())

    assert variable["query"] == source["type"]
    assert source["isDefault"]
    assert scrape["global"]["scrape_interval"] == source["jsonData"]["timeInterval"]
    assert provider["type"] == "file"
    assert [file.name for file in (GRAFANA / "dashboards").iterdir()] == [JSON_FILE.name]
    assert JSON_FILE.name == f"{UID}.json"
    assert dashboard()["uid"] == UID
