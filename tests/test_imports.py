"""Imports go one way, and each library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter

ROOT = Path(exporter.__file__).parent

# Which rooms a room may import from, itself aside.
ALLOWED = {
    "audit": {"system", "text", "vb365"},
    "config": {"text"},
    "logs": {"system", "text"},
    # The flags use the listen address of the web server, which knows nothing of flags: no cycle.
    "flags": {"logs", "system", "text", "web"},
    "monotonic": set[str](),
    "system": {"threads"},
    "text": set[str](),
    "threads": set[str](),
    "token_bucket": set[str](),
    "vb365": {"config", "monotonic", "text", "threads"},
    "polling": {"config", "monotonic", "threads", "token_bucket", "vb365"},
    "metrics": {"config", "polling", "text", "vb365"},
    "web": {"config", "metrics", "text", "threads", "token_bucket"},
    "simulator": set[str](),
    "service": {
        "audit",
        "config",
        "metrics",
        "polling",
        "system",
        "text",
        "threads",
        "vb365",
        "web",
    },
    # The report uses the words of the status page, which knows nothing of reports: no cycle.
    "report": {"config", "polling", "text", "vb365", "web"},
    "commands": {
        "config",
        "flags",
        "metrics",
        "polling",
        "report",
        "service",
        "simulator",
        "system",
        "text",
        "threads",
        "vb365",
        "web",
    },
    "cli": {"commands", "config", "flags", "logs", "system", "threads", "web"},
    "__main__": {"cli", "system"},
    "__init__": set[str](),
}

HOMES = {
    "prometheus_client": {"metrics"},
    "requests": {"vb365"},
    "urllib3": {"vb365"},
    "tenacity": {"vb365"},
    "yaml": {"config"},
    "aiohttp": {"web", "simulator"},
    "jinja2": {"web"},
    "trustme": {"simulator"},
    "pydantic": {"config"},
    "pydantic_core": {"config", "vb365"},
    "bcrypt": {"web"},
}

MODULES = sorted(ROOT.rglob("*.py"))


def room(module: Path) -> str:
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(module: Path) -> None:
    for name in imported(module):
        package, _, rest = name.partition(".")
        if package == "exporter":
            target = rest.partition(".")[0]
            assert target in ALLOWED[room(module)] | {room(module), "__version__"}, name
        if package in HOMES:
            assert room(module) in HOMES[package], name


def test_the_template_engine_is_not_imported_at_startup() -> None:
    script = "import exporter.commands.serve, sys; print('jinja2' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert process.stdout == "False\n"
