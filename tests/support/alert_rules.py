"""The shipped alert rules with their runbooks, and copies of them with short durations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
RULE_TESTS = DEPLOY / "prometheus" / "tests"
RUNBOOKS = DEPLOY / "runbooks"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+)([smhd])")
# In PromQL a duration stands in brackets, after `offset`, or as the seconds of an age.
_IN_PROMQL = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]|(?<=time\(\) - )\d+\b")
_WAITS = ("for", "keep_firing_for", "interval", "group_wait", "group_interval")

Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule."""

    name: str
    rule: Mapping[str, Any]

    @property
    def severity(self) -> str:
        severity: str = self.rule["labels"]["severity"]
        return severity

    @property
    def annotations(self) -> Mapping[str, str]:
        annotations: Mapping[str, str] = self.rule["annotations"]
        return annotations

    @property
    def meaning(self) -> str:
        """The first sentence of its runbook: when the alert fires."""
        (paragraph,) = re.findall(
            r"^## What it means\n\n(.+?)\n\n", self.runbook, re.MULTILINE | re.DOTALL
        )
        sentence: str = re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0]
        return sentence.replace("\n", " ")

    @property
    def runbook(self) -> str:
        """The text of the alert's runbook."""
        return (RUNBOOKS / f"{self.name}.md").read_text(encoding="utf-8")

    def runbook_queries(self) -> list[str]:
        """Return the PromQL queries in the alert's runbook."""
        blocks = re.findall(r"^```promql\n(.+?)^```$", self.runbook, re.MULTILINE | re.DOTALL)
        return "".join(blocks).splitlines()


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> Iterator[Mapping[str, Any]]:
    """Yield every alerting and recording rule, in the order of the files."""
    for path in sorted(RULES.glob("*.yml")):
        for group in load_yaml(path)["groups"]:
            yield from group["rules"]


def alerts() -> tuple[Alert, ...]:
    """Return every alerting rule, in the order of the files.

    An alert with two severities has two rules.
    """
    return tuple(Alert(rule["alert"], rule) for rule in rules() if "alert" in rule)


def _map_durations(document: Any, wait: Change, look_back: Change) -> Any:
    """Return the document with its durations changed: `wait` changes waits, `look_back` ranges in PromQL."""
    if isinstance(document, list):
        return [_map_durations(part, wait, look_back) for part in document]
    if not isinstance(document, Mapping):
        return document
    changed = {}
    for key, value in document.items():
        if key in _WAITS:
            changed[key] = wait(value)
        elif key == "expr":
            changed[key] = _IN_PROMQL.sub(lambda found: look_back(found[0]), value)
        else:
            changed[key] = _map_durations(value, wait, look_back)
    return changed


def _seconds(duration: str) -> int:
    if duration.isdecimal():
        return int(duration)
    found = _DURATION.fullmatch(duration)
    assert found, duration
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def _without_durations(document: Any) -> str:
    return json.dumps(_map_durations(document, lambda _: "…", lambda _: "…"), sort_keys=True)


def _shorten(document: Any, longest_seconds: int) -> Any:
    """Shorten waits to at most a second and ranges to a 150th: an hour becomes 24 seconds."""

    def look_back(duration: str) -> str:
        seconds = min(max(5, _seconds(duration) // 150), longest_seconds)
        return str(seconds) if duration.isdecimal() else f"{seconds}s"

    short = _map_durations(document, lambda wait: f"{min(1, _seconds(wait))}s", look_back)
    assert _without_durations(document) == _without_durations(short)
    return short


def write_short_rules(
    directory: Path, *, longest_seconds: int = 720, thresholds: Mapping[str, float] | None = None
) -> Path:
    """Write the shipped rules with short durations; `thresholds` replace values of the threshold file.

    Returns:
        The pattern for `rule_files`.
    """
    directory.mkdir()
    for path in RULES.glob("*.yml"):
        short = _shorten(load_yaml(path), longest_seconds)
        for group in short["groups"]:
            for rule in group["rules"]:
                if rule.get("record") in (thresholds or {}):
                    rule["expr"] = f"vector({(thresholds or {})[rule['record']]})"
        (directory / path.name).write_text(yaml.safe_dump(short), encoding="utf-8")
    return directory / "*.yml"


def scaled_alertmanager_config(webhook_url: str, minute_seconds: float) -> str:
    """Return the shipped configuration with minutes of this length, all receivers as paths of one webhook.

    It has no time intervals, because Alertmanager takes these from the clock.
    """
    document = load_yaml(ALERTMANAGER)
    for route in (document["route"], *document["route"]["routes"]):
        route.pop("active_time_intervals", None)
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if key in route:
                route[key] = f"{max(int(_seconds(route[key]) / 60 * minute_seconds * 1000), 1)}ms"
    for receiver in document["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = f"{webhook_url}/{receiver['name']}"
    return yaml.safe_dump(document)


def short_alertmanager_config(webhook_url: str) -> str:
    """Return the shipped configuration with short durations and all receivers as paths of one webhook.

    It notifies at any time of the day, and does not send the watchdog alert.
    """
    document = load_yaml(ALERTMANAGER)
    document["route"]["routes"][0]["repeat_interval"] = "1h"
    for route in document["route"]["routes"]:
        route.pop("active_time_intervals", None)
    short = _shorten(document, 0)
    for receiver in short["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = f"{webhook_url}/{receiver['name']}"
    return yaml.safe_dump(short)
