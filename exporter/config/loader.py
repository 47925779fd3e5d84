"""Loads the configuration file, with all its problems at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.config.files import LoadContext
from exporter.config.model import Block, Config
from exporter.config.plausibility import warnings_of
from exporter.config.problems import (
    ConfigError,
    Location,
    Problem,
    ProblemCollector,
    dotted,
)
from exporter.config.resolve import resolve
from exporter.config.suspicious_text import NOT_EXPANDED, looks_like_variable
from exporter.config.types import NO_VALUE, is_derived
from exporter.config.yaml_file import parse_document, read_document

BlockT = TypeVar("BlockT", bound=Block)
_Keys = Sequence[tuple[str, str]]
"""Every key with the place of its block, as `keys_below` yields them."""


def load_config(path: Path, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Load a configuration file, fill in its defaults, and check that its files and secrets are usable.

    Args:
        path: the file; problems with the file as a whole have this path as their place.
        environ: the environment for `*_env` keys and CREDENTIALS_DIRECTORY.

    Raises:
        ConfigError: the file cannot be used.
    """
    document, problems = read_document(path)
    context = LoadContext(directory=path.parent.absolute(), environ=environ)
    return _load(document, problems, str(path), context, path)


def parse_config(text: str, *, directory: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Load a configuration from text, as `load_config` does from a file.

    Args:
        text: the content of the file.
        directory: what relative paths are relative to.
        environ: as for `load_config`.

    Raises:
        ConfigError: the text cannot be used.
    """
    name = "config.yaml"
    document, problems = parse_document(text.encode(errors="surrogatepass"), name)
    context = LoadContext(directory=directory.absolute(), environ=environ)
    return _load(document, problems, name, context)


def _load(
    document: object,
    problems: ProblemCollector,
    name: str,
    context: LoadContext,
    path: Path | None = None,
) -> Config:
    if document is None:
        raise ConfigError([Problem(name, "is empty; it needs at least servers")])
    if not isinstance(document, dict):
        raise ConfigError([Problem(name, "must be a mapping of keys such as servers")])
    file = validate_blocks(Config, document, problems, context)
    config = resolve(file, problems)
    if config is None:
        raise problems.error()
    return config.model_copy(update={"warnings": warnings_of(file, config, path)})


def validate_blocks(
    model: type[BlockT],
    document: dict[str, object],
    problems: ProblemCollector,
    context: LoadContext,
) -> BlockT:
    """Validate a document; report its invalid values, drop them and return the rest.

    The rest has the model's types, so that rules between valid keys can be checked.
    """
    try:
        return model.model_validate(document, context=context)
    except ValidationError as error:
        # An error raised in here would carry this one, which may hold a secret.
        details = error.errors(include_url=False)
    keys = tuple(keys_below(model))
    meant: set[Location] = set()
    for detail in details:
        location = detail["loc"]
        problems.report(location, _message(detail, keys))
        problems.invalid.add(location)
        if detail["type"] == "extra_forbidden" and (near := _nearest(location, keys)):
            # A misspelt key is one mistake: do not report the key that was meant as missing.
            meant.add((*location[:-1], near))
    valid = _without_invalid(document, (), problems.invalid)
    problems.invalid |= meant
    return model.model_validate(valid, context=context)


def _message(detail: ErrorDetails, keys: _Keys) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(detail["loc"], keys)
        case "model_type" | "dict_type":
            return "must be a mapping (key: value)"
        case "tuple_type":
            return "must be a list (- value)"
        case "literal_error" if detail["input"] is None:
            return NO_VALUE
        case "literal_error":
            return "must be " + str(context["expected"]).replace("'", "")
    message = str(context.get("error", "is not valid"))
    value = detail["input"]
    is_variable = isinstance(value, str) and looks_like_variable(value)
    return f"{message}; {NOT_EXPANDED}" if is_variable else message


def _unknown_key(location: Location, keys: _Keys) -> str:
    """Return the message, with the most similar key of this block or, failing that, of another."""
    near = _nearest(location, keys)
    if near:
        return f'unknown key; did you mean "{near}"?'
    blocks = {known: block for block, known in reversed(keys)}
    far = difflib.get_close_matches(str(location[-1]), blocks, n=1, cutoff=0.75)
    if not far:
        return "unknown key"
    block = blocks[far[0]]
    return f'unknown key; did you mean "{far[0]}" {f"under {block}" if block else "at the top"}?'


def _nearest(location: Location, keys: _Keys) -> str | None:
    """Return the most similar key of the same block, or None if none is similar."""
    place = re.sub(r"\[[0-9]+\]", "[]", dotted(location[:-1]))
    here = [known for block, known in keys if block == place]
    return next(iter(difflib.get_close_matches(str(location[-1]), here, n=1)), None)


def _without_invalid(value: object, location: Location, invalid: set[Location]) -> object:
    """Return the document without its invalid places."""
    if isinstance(value, dict):
        return {
            key: _without_invalid(inner, (*location, key), invalid)
            for key, inner in value.items()
            if (*location, key) not in invalid
        }
    if isinstance(value, list):
        kept = []
        for index, inner in enumerate(value):
            place = (*location, index)
            if place not in invalid:
                kept.append(_without_invalid(inner, place, invalid))
            elif location == ("servers",):
                kept.append({})  # the servers after it keep their index
        return kept
    return value


def keys_below(block: type[Block], place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key with the place of its block, such as `("servers[].auth", "token")`."""
    for key, field in block.model_fields.items():
        if is_derived(field):
            continue
        yield place, key
        inner_place = f"{place}.{key}" if place else key
        if get_origin(field.annotation) is tuple:
            inner_place += "[]"
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Block):
                yield from keys_below(inner, inner_place)
