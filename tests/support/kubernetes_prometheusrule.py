"""Generate the PrometheusRule of the kustomize base from the rules: `python -m support.kubernetes_prometheusrule`."""

from __future__ import annotations

from pathlib import Path

from support.alert_rules import DEPLOY, RULES

MANIFEST = DEPLOY / "kubernetes" / "base" / "prometheusrule.yaml"

_HEADER = """\
# Generated from deploy/prometheus/rules by `make manifests`: edit the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: vb365-restore-exporter
spec:
  groups:
"""


def _groups(path: Path) -> str:
    """Return the groups of a rule file, comments included, indented for `spec`."""
    _, _, groups = path.read_text(encoding="utf-8").partition("groups:\n")
    return "".join(
        f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True)
    )


def rendered() -> str:
    """Return the manifest."""
    return _HEADER + "\n".join(_groups(path) for path in sorted(RULES.glob("*.yml")))


if __name__ == "__main__":
    MANIFEST.write_text(rendered(), encoding="utf-8")
