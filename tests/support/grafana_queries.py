"""The dashboard's queries, with variables interpolated and run as Grafana does."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from vb365_dashboard.board import JSON_FILE

Series = dict[str, Any]

_DAY_SECONDS, _HOUR_SECONDS = 86_400, 3_600
_RANGE_SECONDS = 300
_STEP_SECONDS = 5
_SPECIAL_IN_REGEX = re.compile(r"[\\^$*+?.()|\[\]{}/]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query of the dashboard."""

    panel: str
    """The panel's title, or the annotation's name."""
    legend: str
    """The legend of its series, or its column in a table."""
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.panel}/{self.legend}"


def dashboard() -> dict[str, Any]:
    """Return the shipped dashboard."""
    read: dict[str, Any] = json.loads(JSON_FILE.read_text(encoding="utf-8"))
    return read


def panels(*, folded: bool | None = None) -> tuple[dict[str, Any], ...]:
    """Return the panels: all of them, or those in folded rows, or the others."""
    return tuple(panel for panel, in_folded in _panels() if folded is None or in_folded is folded)


def _panels() -> Iterator[tuple[dict[str, Any], bool]]:
    for panel in dashboard()["panels"]:
        yield panel, False
        for inner in panel.get("panels", ()):
            yield inner, True


def queries() -> tuple[Query, ...]:
    """Return every query of the dashboard."""
    return tuple(_queries())


def _queries() -> Iterator[Query]:
    for panel in panels():
        for target in panel.get("targets", ()):
            yield Query(
                panel=panel["title"],
                legend=target.get("legendFormat") or target["refId"],
                expression=target["expr"],
                instant=target.get("instant", False),
            )
    for annotation in dashboard()["annotations"]["list"]:
        yield Query(
            panel=annotation["name"], legend="", expression=annotation["expr"], instant=False
        )


def interpolated(expression: str, **selected: str) -> str:
    """Replace Grafana's variables in an expression: with the selected values, or with All.

    Raises:
        AssertionError: an unknown variable is left.
    """
    values = {
        "__from": str(int((time.time() - _DAY_SECONDS) * 1000)),
        "__rate_interval": "1m",
        "__range": f"{_DAY_SECONDS}s",
        "__interval_ms": str(_HOUR_SECONDS * 1000),
        "job": selected.get("job", ".+"),
        "instance": selected.get("instance", ".+"),
        **{
            f"{variable}:regex": _SPECIAL_IN_REGEX.sub(r"\\\g<0>", selected[variable])
            if variable in selected
            else ".*"
            for variable in ("server", "organization", "type", "result")
        },
    }
    for name, value in values.items():
        expression = expression.replace(f"${{{name}}}", value).replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


def run_query(url: str, query: Query, **selected: str) -> list[Series]:
    """Run a query against a Prometheus and return its series."""
    expression, now = interpolated(query.expression, **selected), time.time()
    if query.instant:
        data = _get(url, "query", query=expression, time=str(now))
    else:
        data = _get(
            url,
            "query_range",
            query=expression,
            start=str(now - _RANGE_SECONDS),
            end=str(now),
            step=str(_STEP_SECONDS),
        )
    found: list[Series] = data["result"]
    return found


def label_values(url: str, variable: str, **selected: str) -> list[str]:
    """Return the values that Grafana offers for a variable defined by `label_values`."""
    (definition,) = (one for one in dashboard()["templating"]["list"] if one["name"] == variable)
    match = re.fullmatch(
        r"label_values\((.+), (\w+)\)", interpolated(definition["query"]["query"], **selected)
    )
    assert match is not None
    values: list[str] = _get(url, f"label/{match[2]}/values", **{"match[]": match[1]})
    return values


def _get(url: str, path: str, **parameters: str) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(f"{url}/api/v1/{path}", params=parameters, timeout=30)
        assert response.ok, f"{response.text}: {parameters}"
        return response.json()["data"]
