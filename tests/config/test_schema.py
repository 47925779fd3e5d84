from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import exporter.config
from exporter.config import parse_config
from exporter.config.files import LoadContext
from exporter.config.loader import keys_below, validate_blocks
from exporter.config.model import Config
from exporter.config.problems import ProblemCollector
from support.config_schema import json_schema, schema_text
from support.documentation import SCHEMA

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"

MINIMAL: dict[str, Any] = {
    "servers": [{"url": "https://a", "auth": {"username": "u", "password": "p"}}]
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def example() -> str:
    return EXAMPLE.read_text()


def whole_example() -> Any:
    """Return the example with its commented keys, so that alternatives stand side by side."""
    return yaml.safe_load(re.sub(r"(?m)^( *)#(?=[a-z_]+: )", r"\1", example()))


def keys_in(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield place, key
            yield from keys_in(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner, f"{place}[]")


def keys_in_schema(
    schema: dict[str, Any], node: dict[str, Any], place: str = ""
) -> Iterator[tuple[str, str]]:
    if "$ref" in node:
        yield from keys_in_schema(schema, schema["$defs"][node["$ref"].split("/")[-1]], place)
    for option in node.get("anyOf", ()):
        yield from keys_in_schema(schema, option, place)
    for key, inner in node.get("properties", {}).items():
        yield place, key
        yield from keys_in_schema(schema, inner, f"{place}.{key}" if place else key)
    if "items" in node:
        yield from keys_in_schema(schema, node["items"], f"{place}[]")


def test_the_shipped_schema_is_up_to_date() -> None:
    assert schema_text() == SCHEMA.read_text(), "run: make docs"


def test_schema_example_and_code_have_the_same_keys() -> None:
    schema = json_schema()

    in_code = set(keys_below(Config))

    assert set(keys_in(whole_example())) == in_code
    assert set(keys_in_schema(schema, schema)) == in_code


def test_every_key_has_a_description_for_editors() -> None:
    schema = json_schema()

    blocks = [schema, *schema["$defs"].values()]

    for block in blocks:
        assert block["additionalProperties"] is False
        for key, value in block["properties"].items():
            assert value.get("description"), key


def test_the_example_is_valid_as_it_stands(
    tmp_path: Path, validator: jsonschema.Draft202012Validator
) -> None:
    config = parse_config(example(), directory=tmp_path, environ={})

    validator.validate(yaml.safe_load(example()))
    assert tuple(server.name for server in config.servers) == ("hq",)
    assert config.warnings == ()


def test_the_commented_keys_of_the_example_have_valid_values() -> None:
    problems = ProblemCollector()
    context = LoadContext(directory=Path(), environ={})

    validate_blocks(Config, whole_example(), problems, context)

    assert problems.found == []


def test_editors_show_the_defaults_that_the_loader_applies(tmp_path: Path) -> None:
    schema = json_schema()
    with_defaults = {
        key: value["default"] for key, value in schema["properties"].items() if "default" in value
    }
    server = dict(MINIMAL["servers"][0])
    for key, value in schema["$defs"]["ServerConfig"]["properties"].items():
        if "default" in value:
            server[key] = value["default"]
    for block, key in (("TLSConfig", "tls_config"), ("SessionsConfig", "sessions")):
        server[key] = {
            inner: value["default"]
            for inner, value in schema["$defs"][block]["properties"].items()
            if "default" in value
        }
    assert {"timeout", "api_version", "change_feed", "max_concurrent_requests"} < set(server)
    assert set(server["sessions"]) == {"lookback", "max_series", "max_sessions", "ids", "extras"}

    assert loaded(with_defaults | {"servers": [server]}, tmp_path) == loaded(MINIMAL, tmp_path)


def loaded(document: object, directory: Path) -> Config:
    config = parse_config(yaml.safe_dump(document), directory=directory, environ={})
    return config.model_copy(update={"warnings": ()})


def with_server(**keys: object) -> dict[str, Any]:
    return {"servers": [MINIMAL["servers"][0] | keys]}


GOOD: list[dict[str, Any]] = [
    MINIMAL,
    MINIMAL | {"info_labels": None},
    with_server(sessions=None, tls_config=None),
    with_server(proxy_url="http://u:p@proxy:3128", proxy_from_environment=False),
    with_server(auth={"token": "t"}),
    with_server(poll_interval="1h30m", timeout="500ms"),
    with_server(sessions={"ids": ["635B22CF-9cdc-4004-9160-9b90f90f1bbf"], "discover": False}),
]

BAD: list[dict[str, Any]] = [
    {},
    {"servers": None},
    {"servers": []},
    {"servers": {}},
    {"servers": [None]},
    MINIMAL | {"x": 1},
    MINIMAL | {"poll_interval": 60},
    MINIMAL | {"poll_interval": "60"},
    MINIMAL | {"poll_interval": "1s1m"},
    MINIMAL | {"poll_interval": ""},
    MINIMAL | {"poll_interval": None},
    MINIMAL | {"info_labels": ["user"]},
    MINIMAL | {"info_labels": ["name", "name"]},
    {"servers": [{"url": "https://a"}]},
    {"servers": [{"auth": {"token": "t"}}]},
    with_server(url="http://a"),
    with_server(url="https://u:p@a"),
    with_server(url="https://a?b"),
    with_server(name=""),
    with_server(name="a" * 129),
    with_server(api_version="v9"),
    with_server(auth=None),
    with_server(auth={}),
    with_server(auth={"username": "u"}),
    with_server(auth={"password": "p"}),
    with_server(auth={"username": "u", "token": "t"}),
    with_server(auth={"username": "u", "password": "p", "password_file": "f"}),
    with_server(auth={"username": "u", "password": "p", "token": "t"}),
    with_server(auth={"username": "u", "password": 7}),
    with_server(auth={"username": "u", "password": ""}),
    with_server(proxy_url="http://proxy", proxy_from_environment=True),
    with_server(proxy_url="socks5://proxy"),
    with_server(tls_config={"cert_file": "a"}),
    with_server(tls_config={"key_file": "a"}),
    with_server(tls_config={"insecure_skip_verify": "true"}),
    with_server(max_concurrent_requests=0),
    with_server(max_concurrent_requests=True),
    with_server(change_feed="always"),
    with_server(sessions={"max_series": "10"}),
    with_server(sessions={"max_sessions": 0}),
    with_server(sessions={"ids": ["x"]}),
    with_server(sessions={"discover": False}),
    with_server(sessions={"discover": False, "ids": []}),
    with_server(sessions={"discover": False, "ids": None}),
    with_server(sessions={"extras": ["events", "events"]}),
]


@pytest.mark.parametrize("document", GOOD, ids=repr)
def test_editors_and_exporter_accept_valid_documents(
    document: dict[str, Any], tmp_path: Path, validator: jsonschema.Draft202012Validator
) -> None:
    validator.validate(document)
    loaded(document, tmp_path)


@pytest.mark.parametrize("document", BAD, ids=repr)
def test_editors_and_exporter_reject_invalid_documents(
    document: dict[str, Any], tmp_path: Path, validator: jsonschema.Draft202012Validator
) -> None:
    assert not validator.is_valid(document)
    with pytest.raises(exporter.config.ConfigError):
        loaded(document, tmp_path)
