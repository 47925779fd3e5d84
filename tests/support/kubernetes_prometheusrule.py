"""The PrometheusRule of the kustomize base, made of the rules: `python tests/support/kubernetes_prometheusrule.py` writes it anew."""

from __future__ import annotations

from pathlib import Path

from support.alert_rules import DEPLOY, RULES

MANIFEST = DEPLOY / "kubernetes" / "base" / "prometheusrule.yaml"

_HEAD = """\
# Made of deploy/prometheus/rules by `make manifests`: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: vb365-restore-exporter
spec:
  groups:
"""


def _groups(path: Path) -> str:
    """The groups of a file, comments included, as they stand below `spec`."""
    _, _, groups = path.read_text(encoding="utf-8").partition("groups:\n")
    return "".join(
        f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True)
    )


def rendered() -> str:
    """The manifest, as it is to be."""
    return _HEAD + "\n".join(_groups(path) for path in sorted(RULES.glob("*.yml")))


if __name__ == "__main__":
    MANIFEST.write_text(rendered(), encoding="utf-8")
