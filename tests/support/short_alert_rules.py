"""Copies of the shipped rules and of the Alertmanager configuration for impatient tests: only durations differ."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.alert_rules import ALERTMANAGER, RULES, load_yaml

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+)([smhd])")
# In PromQL a duration stands in brackets, after `offset`, or as the seconds of an age.
_IN_PROMQL = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]|(?<=time\(\) - )\d+\b")
_WAITS = ("for", "keep_firing_for", "interval", "group_wait", "group_interval")

Change = Callable[[str], str]


def _map(document: Any, wait: Change, look_back: Change) -> Any:
    """The document with each duration changed: those to wait for, and those to look back."""
    if isinstance(document, list):
        return [_map(part, wait, look_back) for part in document]
    if not isinstance(document, Mapping):
        return document
    changed = {}
    for key, value in document.items():
        if key in _WAITS:
            changed[key] = wait(value)
        elif key == "expr":
            changed[key] = _IN_PROMQL.sub(lambda found: look_back(found[0]), value)
        else:
            changed[key] = _map(value, wait, look_back)
    return changed


def _seconds(duration: str) -> int:
    if duration.isdecimal():
        return int(duration)
    found = _DURATION.fullmatch(duration)
    assert found, duration
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def _blank(document: Any) -> str:
    return json.dumps(_map(document, lambda _: "…", lambda _: "…"), sort_keys=True)


def _short(document: Any, longest_seconds: int) -> Any:
    """Waits of at most a second; an hour to look back becomes 24 seconds."""

    def look_back(duration: str) -> str:
        seconds = min(max(5, _seconds(duration) // 150), longest_seconds)
        return str(seconds) if duration.isdecimal() else f"{seconds}s"

    short = _map(document, lambda wait: f"{min(1, _seconds(wait))}s", look_back)
    assert _blank(document) == _blank(short)
    return short


def write_short_rules(
    directory: Path, *, longest_seconds: int = 720, thresholds: Mapping[str, float] | None = None
) -> Path:
    """The shipped rules with short durations; `thresholds` are what a user wrote into the file of thresholds.

    Returns the pattern for `rule_files`.
    """
    directory.mkdir()
    for path in RULES.glob("*.yml"):
        short = _short(load_yaml(path), longest_seconds)
        for group in short["groups"]:
            for rule in group["rules"]:
                if rule.get("record") in (thresholds or {}):
                    rule["expr"] = f"vector({(thresholds or {})[rule['record']]})"
        (directory / path.name).write_text(yaml.safe_dump(short), encoding="utf-8")
    return directory / "*.yml"


def short_alertmanager_config(webhook_url: str) -> str:
    """The shipped configuration with short durations, and receivers that are paths of one web server."""
    document = load_yaml(ALERTMANAGER)
    short = _short(document, 0)
    for receiver in short["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = f"{webhook_url}/{receiver['name']}"
    return yaml.safe_dump(short)
