"""The warnings and errors that the exporter can log, as its source code has them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import exporter

_LEVELS = {"warning": "WARN", "_warn_once": "WARN", "error": "ERROR", "exception": "ERROR"}
_SIMULATOR = "simulator"
_COMPOSED = {
    ("ERROR", "changes not published, server shown as down until the next poll ends"),
    ("ERROR", "poll not completed, server shown as down until the next poll ends"),
    ("WARN", "full list is missing more than half of the known sessions again, accepting it"),
    (
        "WARN",
        "full list is missing more than half of the known sessions, listing again in the next poll",
    ),
    ("WARN", "log events dropped, standard error was blocked"),
    (
        "WARN",
        "server's clock differs from this machine's by more than a day, lookback follows the server's",
    ),
}
"""Messages that are no literals where they are logged."""


def logged_messages() -> set[tuple[str, str]]:
    """Return level and message of each call that logs one."""
    root = Path(exporter.__file__).parent
    return _COMPOSED | {
        logged
        for file in root.rglob("*.py")
        if _SIMULATOR not in file.relative_to(root).parts
        for logged in _messages(ast.parse(file.read_text(encoding="utf-8")))
    }


def _messages(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=method, value=ast.Name(id="log" | "self" | "logger")),
                args=[ast.Constant(value=str(message)), *_],
            ) if method in _LEVELS:
                yield _LEVELS[method], message
