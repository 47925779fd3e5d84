"""Loads the configuration file, with all its problems at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.config.files import LoadContext
from exporter.config.model import Block, Config
from exporter.config.problems import ConfigError, Location, Problem, ProblemCollector, dotted
from exporter.config.resolve import resolve
from exporter.config.types import NO_VALUE, is_derived
from exporter.config.unused import unused_settings
from exporter.config.yaml_file import parse_document, read_document

__all__ = ["check_lines", "keys_below", "load_config", "parse_config", "validate_blocks"]

B = TypeVar("B", bound=Block)
_Keys = Sequence[tuple[str, str]]


def load_config(path: Path, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Load a configuration file, resolve its defaults, and try its files and secrets.

    Args:
        path: the file; problems of the file as a whole are located at this path as given.
        environ: the environment for `*_env` keys and CREDENTIALS_DIRECTORY.

    Raises:
        ConfigError: the file cannot be used.
    """
    document, problems = read_document(path)
    return _load(document, problems, str(path), _context(path.parent, environ))


def parse_config(
    text: str,
    *,
    directory: Path,
    name: str = "config.yaml",
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Load a configuration from text, as `load_config` does from a file.

    Args:
        text: the content of the file.
        directory: where relative paths start.
        name: the place of problems of the text as a whole.
        environ: as for `load_config`.

    Raises:
        ConfigError: the text cannot be used.
    """
    document, problems = parse_document(text.encode(errors="surrogatepass"), name)
    return _load(document, problems, name, _context(directory, environ))


def check_lines(
    path: Path, *, environ: Mapping[str, str] = os.environ
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what `--config.check` prints: a line per error, and a line per unused setting.

    Unused settings are reported only when there is no error.
    """
    try:
        config = load_config(path, environ=environ)
    except ConfigError as error:
        return tuple(map(str, error.problems)), ()
    return (), tuple(f"warning: {problem}" for problem in config.warnings)


def _context(directory: Path, environ: Mapping[str, str]) -> LoadContext:
    return LoadContext(directory=directory.absolute(), environ=environ)


def _load(document: object, problems: ProblemCollector, name: str, context: LoadContext) -> Config:
    if document is None:
        raise ConfigError([Problem(name, "is empty; it needs at least servers")])
    if not isinstance(document, dict):
        raise ConfigError([Problem(name, "must be a mapping of keys such as servers")])
    file = validate_blocks(Config, document, problems, context)
    config = resolve(file, problems)
    if config is None:
        # Not inside an except block: the error has no cause that could hold a secret.
        raise ConfigError(problems.found)
    return config.model_copy(update={"warnings": unused_settings(file, config)})


def validate_blocks(
    model: type[B], document: dict[str, object], problems: ProblemCollector, context: LoadContext
) -> B:
    """Validate a document; report its invalid values and return the rest.

    The rest is typed, so that rules between keys can be checked although other keys are invalid.

    Args:
        model: the block that is the whole file.
        document: the content of the file.
        problems: collects the problems, and the places that were left out.
        context: what the file is loaded against.
    """
    try:
        return model.model_validate(document, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
    keys = tuple(keys_below(model))
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    problems.invalid |= {detail["loc"] for detail in details}
    for detail in details:
        problems.report(detail["loc"], _message(detail, keys))
    valid = _without_invalid(document, (), problems.invalid)
    # A misspelt key is one mistake: the key that was meant is not missing as well.
    meant_keys = ((location[:-1], _nearest(location, keys)) for location in unknown)
    problems.invalid |= {(*block, meant) for block, meant in meant_keys if meant}
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
    return str(context.get("error", "is not valid"))


def _unknown_key(location: Location, keys: _Keys) -> str:
    """Return the message, with the nearest known key of this block, or else of another one."""
    near = _nearest(location, keys)
    if near:
        return f'unknown key; did you mean "{near}"?'
    blocks = {known: block for block, known in reversed(keys)}
    far = difflib.get_close_matches(str(location[-1]), blocks, n=1, cutoff=0.75)
    if far:
        return f'unknown key; did you mean "{far[0]}" {_under(blocks[far[0]])}?'
    return "unknown key"


def _nearest(location: Location, keys: _Keys) -> str | None:
    """Return the known key of the same block that is most like the unknown one, if any is."""
    place = re.sub(r"\[[0-9]+\]", "[]", dotted(location[:-1]))
    here = [known for block, known in keys if block == place]
    return next(iter(difflib.get_close_matches(str(location[-1]), here, n=1)), None)


def _under(block: str) -> str:
    return f"under {block}" if block else "at the top"


def _without_invalid(value: object, location: Location, invalid: set[Location]) -> object:
    """Return the document without its invalid places.

    A server that is no mapping becomes an empty one, so that its neighbours keep their index.
    """
    if isinstance(value, dict):
        return {
            key: _without_invalid(inner, (*location, key), invalid)
            for key, inner in value.items()
            if (*location, key) not in invalid
        }
    if isinstance(value, list):
        kept = [(*location, i) not in invalid for i in range(len(value))]
        if location == ("servers",):
            return [
                _without_invalid(inner, (*location, i), invalid) if kept[i] else {}
                for i, inner in enumerate(value)
            ]
        return [inner for i, inner in enumerate(value) if kept[i]]
    return value


def keys_below(block: type[Block], place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key with the place of its block, such as `("servers[].auth", "token")`."""
    for key, field in block.model_fields.items():
        if is_derived(field):
            continue
        yield place, key
        dots = f"{place}.{key}" if place else key
        for inner, brackets in _blocks_in(field.annotation):
            yield from keys_below(inner, dots + brackets)


def _blocks_in(annotation: object, brackets: str = "") -> Iterator[tuple[type[Block], str]]:
    """Yield the block of a key, with `[]` if the key is a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation, brackets
    for argument in get_args(annotation):
        is_list = getattr(annotation, "__origin__", None) is tuple
        yield from _blocks_in(argument, "[]" if is_list else "")
