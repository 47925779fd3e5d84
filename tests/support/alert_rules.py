"""The shipped alert rules and what goes with them, as they stand under `deploy/`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
RULE_TESTS = DEPLOY / "prometheus" / "tests"
RUNBOOKS = DEPLOY / "runbooks"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, as its rule has it."""

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
    def runbook(self) -> str:
        """The text of its runbook."""
        return (RUNBOOKS / f"{self.name}.md").read_text(encoding="utf-8")

    def runbook_queries(self) -> list[str]:
        """The queries that its runbook tells to ask."""
        blocks = re.findall(r"^```promql\n(.+?)^```$", self.runbook, re.MULTILINE | re.DOTALL)
        return "".join(blocks).splitlines()


def load_yaml(path: Path) -> Any:
    """A YAML file's content."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> Iterator[Mapping[str, Any]]:
    """Every rule, alerting or recording, in the order of the files."""
    for path in sorted(RULES.glob("*.yml")):
        for group in load_yaml(path)["groups"]:
            yield from group["rules"]


def alerts() -> tuple[Alert, ...]:
    """Every alert, in the order of the file."""
    return tuple(Alert(rule["alert"], rule) for rule in rules() if "alert" in rule)
