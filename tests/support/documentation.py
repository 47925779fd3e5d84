"""What is generated from the code: tables of the documentation, and the JSON Schema. `make docs` updates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.flags import FLAGS
from exporter.metrics.catalogue import all_families
from exporter.metrics.catalogue.family import Family, SessionFamily, SnapshotFamily
from exporter.text import DURATION_PATTERN
from support.alert_rules import alerts
from support.config_schema import json_schema, schema_text
from support.failure_catalogue import failures_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SCHEMA = ROOT / "exporter" / "config.schema.json"


def _labels(family: Family) -> str:
    own = [f"`{label}`" for label in family.labels]
    if isinstance(family, SessionFamily):
        return ", ".join(("session labels", *own))
    return ", ".join(("`server`", *own) if isinstance(family, SnapshotFamily) else own)


def metrics_table() -> str:
    """Return a table of all metrics, in the order of the exposition."""
    rows = (
        f"| `{family.name}` | {family.kind.value} | {_labels(family)} | {family.help} |"
        for family in all_families(("<info_labels>",))
    )
    return "\n".join(("| metric | type | labels | meaning |", "|---|---|---|---|", *rows))


def flags_table() -> str:
    """Return a table of all flags, in the order of `--help`."""
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for flag in FLAGS:
        has_default = flag.default is not None and flag.const is None
        default = f"`{flag.default}`" if has_default else ""
        rows.append(
            f"| `{flag.name}` | {default} | {flag.help}{' Repeatable.' if flag.repeatable else ''} |"
        )
    rows += [
        "| `--version` | | Show the version and exit. |",
        "| `--help` | | Show the flags and exit. |",
    ]
    return "\n".join(rows)


def keys_table() -> str:
    """Return a table of all configuration keys with their paths."""
    schema = json_schema()
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*rows, *_rows_of_block(schema, schema["$defs"], "")])


def _rows_of_block(
    block: Mapping[str, Any], blocks: Mapping[str, Any], place: str
) -> Iterator[str]:
    for key, schema in block["properties"].items():
        kind = _without_null(schema)
        default = (
            "required" if key in block.get("required", ()) else _default(schema.get("default"))
        )
        yield f"| `{place}{key}` | {_value(kind)} | {default} | {schema['description']} |"
        inner = kind.get("items", kind).get("$ref")
        if inner:
            below = f"{place}{key}[]." if "items" in kind else f"{place}{key}."
            yield from _rows_of_block(blocks[inner.removeprefix("#/$defs/")], blocks, below)


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a value that may also be null: a block or list without content."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    return options[0] if options else schema


def _value(schema: Mapping[str, Any]) -> str:
    """Describe the allowed values in words."""
    match schema:
        case {"enum": words}:
            text = ", ".join(f"`{word}`" for word in words)
        case {"items": {"enum": _} as words}:
            text = f"list of {_value(words)}"
        case {"items": {"$ref": _}}:
            text = "list of blocks"
        case {"items": _}:
            text = "list of UUIDs"
        case {"$ref": _}:
            text = "block"
        case {"type": "integer", "minimum": low, "maximum": high}:
            text = f"{low} to {high}"
        case {"type": "boolean"}:
            text = "`true`, `false`"
        case {"pattern": pattern} if pattern == DURATION_PATTERN:
            text = "duration"
        case _:
            text = "text"
    return text


def _default(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f"`{str(value).lower()}`"
    return f"`{value}`"


def alerts_table() -> str:
    """Return a table of all alerts with links to their runbooks."""
    severities: dict[str, list[str]] = {}
    meanings: dict[str, str] = {}
    for alert in alerts():
        severities.setdefault(alert.name, []).append(alert.severity)
        meanings[alert.name] = alert.meaning
    rows = ["| alert | severity | when |", "|---|---|---|"]
    rows += [
        f"| [{name}](../deploy/runbooks/{name}.md) | {', '.join(found)} | {meanings[name]} |"
        for name, found in severities.items()
    ]
    return "\n".join(rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "metrics": metrics_table,
    "failures": failures_table,
    "alerts": alerts_table,
    "flags": flags_table,
    "keys": keys_table,
}


def pages() -> tuple[Path, ...]:
    """Return every page that is reachable from the front page."""
    return (
        *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")),
        *sorted(DOCS.glob("*.md")),
    )


def updated(page: str) -> str:
    """Return a page with its tables generated from the code."""
    for name, table in TABLES.items():
        before, begin, rest = page.partition(f"<!-- {name}: begin -->\n")
        _, end, after = rest.partition(f"<!-- {name}: end -->")
        if end:
            page = f"{before}{begin}{table()}\n{end}{after}"
    return page


if __name__ == "__main__":
    for file in pages():
        file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
