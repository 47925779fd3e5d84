"""The tables of the README that are made from the code: `python tests/support/readme.py` writes them anew."""

from __future__ import annotations

from pathlib import Path

from exporter.flags import FLAGS
from exporter.metrics.catalogue import (
    Family,
    SessionFamily,
    SnapshotFamily,
    all_families,
)
from support.alerts import alerts
from support.failures import failures_table

README = Path(__file__).parents[2] / "README.md"


def _labels(family: Family) -> str:
    own = [f"`{label}`" for label in family.labels]
    if isinstance(family, SessionFamily):
        return ", ".join(("session labels", *own))
    return ", ".join(("`server`", *own) if isinstance(family, SnapshotFamily) else own)


def metrics_table() -> str:
    """Every metric, in the order they are served."""
    rows = (
        f"| `{family.name}` | {family.kind.value} | {_labels(family)} | {family.help} |"
        for family in all_families(("<info_labels>",))
    )
    return "\n".join(("| metric | type | labels | meaning |", "|---|---|---|---|", *rows))


def flags_table() -> str:
    """Every flag, in the order of `--help`."""
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for flag in FLAGS:
        has_default = flag.default is not None and flag.bare is None
        default = f"`{flag.default}`" if has_default else ""
        rows.append(
            f"| `{flag.name}` | {default} | {flag.help}{' Repeatable.' if flag.repeatable else ''} |"
        )
    rows += [
        "| `--version` | | Show the version and exit. |",
        "| `--help` | | Show the flags and exit. |",
    ]
    return "\n".join(rows)


def alerts_table() -> str:
    """Every alert, with the way to its runbook."""
    rows = ["| alert | severity | what it says |", "|---|---|---|"]
    for alert in alerts():
        url = alert.annotations["runbook_url"]
        rows.append(
            f"| [{alert.name}]({url}) | {alert.severity} | {alert.annotations['summary']} |"
        )
    return "\n".join(rows)


def written(readme: str) -> str:
    """The README with its tables as the code has them."""
    for name, table in (
        ("metrics", metrics_table()),
        ("failures", failures_table()),
        ("alerts", alerts_table()),
        ("flags", flags_table()),
    ):
        before, begin, rest = readme.partition(f"<!-- {name}: begin -->\n")
        _, end, after = rest.partition(f"<!-- {name}: end -->")
        readme = f"{before}{begin}{table}\n{end}{after}"
    return readme


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
