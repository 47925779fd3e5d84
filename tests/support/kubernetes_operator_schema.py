"""A JSON Schema of the Prometheus operator's kinds, as far as they are used here (API monitoring.coreos.com/v1).

The API server silently drops unknown fields, so a misspelt one would have no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

_DURATION = {"type": "string", "pattern": r"^((\d+)(ms|[smhdwy]))+$"}
_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_KEY = {
    "type": "object",
    "properties": {"name": _TEXT, "key": _TEXT, "optional": {"type": "boolean"}},
    "required": ["name", "key"],
    "additionalProperties": False,
}
_SECRET_OR_CONFIG_MAP = {
    "type": "object",
    "properties": {"secret": _KEY, "configMap": _KEY},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
_METADATA = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "namespace": _TEXT,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
    "required": ["name"],
    "additionalProperties": False,
}
_RELABELING = {
    "type": "object",
    "properties": {
        "action": _TEXT,
        "regex": _TEXT,
        "replacement": {"type": "string"},
        "separator": {"type": "string"},
        "sourceLabels": {"type": "array", "items": _TEXT},
        "targetLabel": _TEXT,
    },
    "additionalProperties": False,
}
_ENDPOINT = {
    "type": "object",
    "properties": {
        "port": _TEXT,
        "path": {"type": "string", "pattern": "^/"},
        "interval": _DURATION,
        "scrapeTimeout": _DURATION,
        "scheme": {"enum": ["http", "https"]},
        "basicAuth": {
            "type": "object",
            "properties": {"username": _KEY, "password": _KEY},
            "required": ["username", "password"],
            "additionalProperties": False,
        },
        "tlsConfig": {
            "type": "object",
            "properties": {
                "ca": _SECRET_OR_CONFIG_MAP,
                "cert": _SECRET_OR_CONFIG_MAP,
                "keySecret": _KEY,
                "serverName": _TEXT,
                "insecureSkipVerify": {"type": "boolean"},
            },
            "additionalProperties": False,
        },
        "relabelings": {"type": "array", "items": _RELABELING},
        "metricRelabelings": {"type": "array", "items": _RELABELING},
    },
    "required": ["port"],
    "additionalProperties": False,
}
_MONITOR = {
    "type": "object",
    "properties": {
        "selector": {
            "type": "object",
            "properties": {"matchLabels": _TEXTS},
            "required": ["matchLabels"],
            "additionalProperties": False,
        },
        "endpoints": {"type": "array", "items": _ENDPOINT, "minItems": 1},
    },
    "required": ["selector", "endpoints"],
    "additionalProperties": False,
}
_RULE = {
    "type": "object",
    "properties": {
        "alert": _TEXT,
        "record": _TEXT,
        "expr": _TEXT,
        "for": _DURATION,
        "keep_firing_for": _DURATION,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
    "required": ["expr"],
    "additionalProperties": False,
}
_RULES = {
    "type": "object",
    "properties": {
        "groups": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "name": _TEXT,
                    "interval": _DURATION,
                    "rules": {"type": "array", "items": _RULE, "minItems": 1},
                },
                "required": ["name", "rules"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["groups"],
    "additionalProperties": False,
}
_SPECS = {"ServiceMonitor": _MONITOR, "PrometheusRule": _RULES}

OPERATOR_API = "monitoring.coreos.com/v1"


def operator_problems(manifests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield schema violations in manifests of the Prometheus operator's kinds."""
    for manifest in manifests:
        if manifest["apiVersion"] != OPERATOR_API:
            continue
        schema = {
            "type": "object",
            "properties": {
                "apiVersion": {},
                "kind": {},
                "metadata": _METADATA,
                "spec": _SPECS[manifest["kind"]],
            },
            "required": ["metadata", "spec"],
            "additionalProperties": False,
        }
        for error in Draft202012Validator(schema).iter_errors(manifest):
            yield f"{manifest['kind']} {error.json_path}: {error.message}"
