"""JSON Schema of the configuration file, for editors."""

from __future__ import annotations

import json
from typing import Any

from exporter.config.model import (
    AuthConfig,
    Block,
    Config,
    ServerConfig,
    SessionsConfig,
    TLSConfig,
)


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the file, where durations, for example, are text."""
    schema = Config.model_json_schema()
    blocks = schema.pop("$defs")
    _polish(schema, Config)
    schema["title"] = schema.pop("description")
    for block in (ServerConfig, AuthConfig, TLSConfig, SessionsConfig):
        _polish(blocks[block.__name__], block)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"$defs": blocks}


def schema_text() -> str:
    """Return the content of `config.schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _polish(schema: dict[str, Any], block: type[Block]) -> None:
    """Remove titles, which pydantic makes of Python names, and write defaults as in the file."""
    del schema["title"]
    defaults = block().model_dump(mode="json", exclude_none=True)
    required = schema.get("required", ())
    for key, value in schema["properties"].items():
        value.pop("title", None)
        value["description"] = " ".join(value["description"].split())
        is_constant = key not in required and "Default: " not in value["description"]
        has_default = value.pop("default", None) is not None and is_constant
        if "$ref" in value and key not in required:
            value["anyOf"] = [{"$ref": value.pop("$ref")}, {"type": "null"}]
        elif has_default:
            value["default"] = defaults[key]
            if value["type"] == "array":
                value["type"] = ["array", "null"]
