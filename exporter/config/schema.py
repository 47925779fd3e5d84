"""JSON Schema of the configuration file, for editors; `python -m exporter.config.schema` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel

from exporter.config.durations import format_duration
from exporter.config.grammar import (
    AuthBlock,
    Block,
    ConfigFile,
    ServerBlock,
    SessionsBlock,
    TLSBlock,
)
from exporter.config.model import AuthConfig, Config, ServerConfig, SessionsConfig, TLSConfig

__all__ = ["json_schema", "schema_text"]

_IN_FORCE: dict[type[Block], type[BaseModel]] = {
    ConfigFile: Config,
    ServerBlock: ServerConfig,
    AuthBlock: AuthConfig,
    TLSBlock: TLSConfig,
    SessionsBlock: SessionsConfig,
}
"""Where the defaults of each block's keys are."""

_COMPUTED = {
    (ConfigFile, "stale_after"),
    (ServerBlock, "poll_interval"),
    (SessionsBlock, "discover"),
}
"""Keys whose default depends on others; their descriptions tell."""


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of the file as it is written: durations are text."""
    made = ConfigFile.model_json_schema()
    blocks = made.pop("$defs")
    for block in _IN_FORCE:
        _polish(made if block is ConfigFile else blocks[block.__name__], block)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made | {"$defs": blocks}


def schema_text() -> str:
    """The content of `config.schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _polish(schema: dict[str, Any], block: type[Block]) -> None:
    """Take out what pydantic tells of Python, and put in the defaults in force."""
    if block is ConfigFile:
        schema["title"] = schema.pop("description")
    else:
        del schema["title"]
    for key, value in schema["properties"].items():
        value.pop("title", None)
        del value["default"]
        if key in schema.get("required", ()):
            _refuse_null(value)
        default = _default(block, key)
        if default is not None:
            value["default"] = default


def _refuse_null(value: dict[str, Any]) -> None:
    """A block or list that is needed cannot be an empty one."""
    for option in value.pop("anyOf", ()):
        if option != {"type": "null"}:
            value |= option


def _default(block: type[Block], key: str) -> object:
    """The default as one would write it, or None when there is none to tell."""
    field = _IN_FORCE[block].model_fields.get(key)
    if field is None or field.is_required() or (block, key) in _COMPUTED:
        return None
    match field.default:
        case float(seconds):
            return format_duration(seconds)
        case tuple(items):
            return list(items)
        case BaseModel():
            return None
    return field.default


if __name__ == "__main__":
    sys.stdout.write(schema_text())
