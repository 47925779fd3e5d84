"""The dashboard holds the rules of Grafana's dashboard linter (https://github.com/grafana/dashboard-linter).

The linter is a Go program outside the package registries that the tests use. Each test here has the name of its rule.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.grafana_queries import dashboard, panels
from vb365_dashboard.promql import RULES

# Rules that the linter applies to these types of panels.
CHECKED = ("stat", "timeseries", "table")
UNITS = {"bytes", "dateTimeAsIso", "dateTimeFromNow", "dtdhms", "none", "percentunit", "s", "short"}

EXCEPTIONS = {
    "uneditable-dashboard": "Operators set the addresses that links start with in the dashboard's settings.",
    "target-instance-rule": "Recording rules drop the label instance, which changes when the exporter restarts.",
    "target-job-rule": "Thresholds are constants without any label of a scrape.",
}

TARGETS = [
    (f"{panel['title']}/{target['refId']}", re.sub(r"\$\{\w+(:\w+)?\}", "1", target["expr"]))
    for panel in panels()
    for target in panel.get("targets", ())
]

every_panel = pytest.mark.parametrize(
    "panel",
    [pytest.param(panel, id=panel["title"]) for panel in panels() if panel["type"] in CHECKED],
)
every_expression = pytest.mark.parametrize(
    "expression", [pytest.param(expression, id=name) for name, expression in TARGETS]
)


def variables(kind: str) -> dict[str, dict[str, Any]]:
    """The variables of a type by their names."""
    return {one["name"]: one for one in dashboard()["templating"]["list"] if one["type"] == kind}


def selectors(expression: str) -> list[tuple[str, str]]:
    """The name and the matchers of each selector of a metric."""
    return re.findall(
        r"(?<![\w:])((?:\w+:)?(?:vb365|process|scrape)[_:][\w:]+)(?:\{([^}]*)\})?", expression
    )


def test_template_datasource_rule() -> None:
    (source,) = variables("datasource").values()

    assert (source["name"], source["label"], source["query"]) == (
        "datasource",
        "Data source",
        "prometheus",
    )


@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_rule_and_template_instance_rule(name: str) -> None:
    variable = variables("query")[name]

    assert variable["datasource"]["uid"] == "${datasource}"
    assert variable["label"] == name.capitalize()
    assert variable["multi"]
    assert variable["allValue"] == ".+"


def test_template_label_promql_rule() -> None:
    for variable in variables("query").values():
        assert re.fullmatch(r"label_values\(\w+(\{.+\})?, \w+\)", variable["query"]["query"])


def test_template_on_time_change_reload_rule() -> None:
    assert {variable["refresh"] for variable in variables("query").values()} == {2}


@every_panel
def test_panel_datasource_rule(panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] == "${datasource}"


@every_panel
def test_panel_title_description_rule(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]


@every_panel
def test_panel_units_rule(panel: dict[str, Any]) -> None:
    config = panel["fieldConfig"]
    units = [config["defaults"].get("unit")] + [
        one["value"]
        for override in config["overrides"]
        for one in override["properties"]
        if one["id"] == "unit"
    ]

    assert set(units) - {None}
    assert set(units) - {None} <= UNITS


@every_panel
def test_panel_no_targets_rule(panel: dict[str, Any]) -> None:
    assert panel["targets"]


@every_panel
def test_a_legend_is_not_empty(panel: dict[str, Any]) -> None:
    if panel["type"] != "table":
        assert all(target["legendFormat"] for target in panel["targets"])


@every_expression
def test_target_rate_interval_rule(expression: str) -> None:
    assert set(re.findall(r"\bi?rate\([^\[]*\[([^\]]*)\]", expression)) <= {"$__rate_interval"}


@every_expression
def test_target_counter_agg_rule(expression: str) -> None:
    for name, _ in selectors(expression):
        if name.endswith("_total"):
            assert re.search(rf"\b(rate|irate|increase)\({name}\{{", expression)


@every_expression
def test_target_job_rule_and_target_instance_rule(expression: str) -> None:
    found = selectors(expression)

    assert found
    for name, matchers in found:
        threshold, rule = name.startswith("vb365:"), name in RULES
        assert ('job=~"$job"' in matchers) is not threshold
        assert ('instance=~"$instance"' in matchers) is not rule


def test_each_exception_from_a_rule_is_used_and_has_its_reason() -> None:
    rules = {name for _, expression in TARGETS for name, _ in selectors(expression)} & set(RULES)

    assert dashboard()["editable"]
    assert any(name.startswith("vb365:") for name in rules)
    assert any(not name.startswith("vb365:") for name in rules)
    assert all(reason.endswith(".") for reason in EXCEPTIONS.values())
