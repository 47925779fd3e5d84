"""What Grafana makes of the dashboard: its queries with the variables filled in, and their answers."""

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

_DAY_SECONDS = 86_400
_RANGE_SECONDS = 300
_STEP_SECONDS = 5
_SPECIAL_IN_REGEX = re.compile(r"[\\^$*+?.()|\[\]{}/]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query of the dashboard."""

    panel: str
    """The panel's title, or the annotation's name."""
    legend: str
    """What names its series, or what it is called in a table."""
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.panel}/{self.legend}"


def dashboard() -> dict[str, Any]:
    """The dashboard as it ships."""
    read: dict[str, Any] = json.loads(JSON_FILE.read_text(encoding="utf-8"))
    return read


def queries() -> tuple[Query, ...]:
    """Every query of the dashboard."""
    return tuple(_queries(dashboard()))


def _queries(shipped: dict[str, Any]) -> Iterator[Query]:
    for panel in shipped["panels"]:
        for target in panel.get("targets", ()):
            yield Query(
                panel=panel["title"],
                legend=target.get("legendFormat") or target["refId"],
                expression=target["expr"],
                instant=target.get("instant", False),
            )
    for annotation in shipped["annotations"]["list"]:
        yield Query(
            panel=annotation["name"], legend="", expression=annotation["expr"], instant=False
        )


def interpolated(expression: str, **selected: str) -> str:
    """An expression with Grafana's variables in place: what is selected, and All of the rest.

    Raises:
        AssertionError: a variable is left that Grafana would not know.
    """
    values = {
        "__from": str(int((time.time() - _DAY_SECONDS) * 1000)),
        "__rate_interval": "1m",
        **{
            f"{variable}:regex": _SPECIAL_IN_REGEX.sub(r"\\\g<0>", selected[variable])
            if variable in selected
            else ".*"
            for variable in ("server", "organization", "type")
        },
    }
    for name, value in values.items():
        expression = expression.replace(f"${{{name}}}", value).replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


def run_query(url: str, query: Query, **selected: str) -> list[Series]:
    """What a Prometheus answers."""
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
    """What Grafana offers for a variable whose values are those of a label."""
    (definition,) = (one for one in dashboard()["templating"]["list"] if one["name"] == variable)
    asked = re.fullmatch(
        r"label_values\((.+), (\w+)\)", interpolated(definition["query"]["query"], **selected)
    )
    assert asked is not None
    values: list[str] = _get(url, f"label/{asked[2]}/values", **{"match[]": asked[1]})
    return values


def _get(url: str, path: str, **parameters: str) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.ok, f"{answer.text}: {parameters}"
        return answer.json()["data"]
