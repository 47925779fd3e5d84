"""A document to its typed blocks: every wrong value and unknown key is reported and left out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from exporter.config.grammar import Block, keys_below
from exporter.config.problems import Location, ProblemCollector, dotted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["read_shape"]

F = TypeVar("F", bound=Block)
_Keys = Sequence[tuple[str, str]]


def read_shape(grammar: type[F], document: dict[str, object], problems: ProblemCollector) -> F:
    """The file's blocks, without what was reported; `problems` says what and where.

    Args:
        grammar: the block that is the whole file.
        document: what the file holds.
        problems: takes the problems and the places that were left out.
    """
    try:
        return grammar.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    keys = tuple(keys_below(grammar))
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    problems.invalid |= {detail["loc"] for detail in details}
    for detail in details:
        problems.report(detail["loc"], _message(detail, keys))
    rest = _without_invalid(document, (), problems.invalid)
    # A misspelt key is one mistake: the key that was meant is not missing as well.
    meant_keys = ((place[:-1], _nearest(place, keys)) for place in unknown)
    problems.invalid |= {(*block, meant) for block, meant in meant_keys if meant}
    return grammar.model_validate(rest)


def _message(detail: ErrorDetails, keys: _Keys) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(detail["loc"], keys)
        case "model_type" | "dict_type":
            return "must be a mapping (key: value)"
        case "tuple_type":
            return "must be a list (- value)"
    return str(detail.get("ctx", {}).get("error", "is not valid"))


def _unknown_key(location: Location, keys: _Keys) -> str:
    """The message, with the nearest known key of this block, or else of another one."""
    near = _nearest(location, keys)
    if near:
        return f'unknown key; did you mean "{near}"?'
    blocks = {known: block for block, known in reversed(keys)}
    far = difflib.get_close_matches(str(location[-1]), blocks, n=1, cutoff=0.75)
    if far:
        return f'unknown key; did you mean "{far[0]}" {_under(blocks[far[0]])}?'
    return "unknown key"


def _nearest(location: Location, keys: _Keys) -> str | None:
    """The known key of the same block that is most like the unknown one, if any is."""
    place = re.sub(r"\[[0-9]+\]", "[]", dotted(location[:-1]))
    here = [known for block, known in keys if block == place]
    return next(iter(difflib.get_close_matches(str(location[-1]), here, n=1)), None)


def _under(block: str) -> str:
    return f"under {block}" if block else "at the top"


def _without_invalid(value: object, location: Location, invalid: set[Location]) -> object:
    """The same document without the places that are invalid.

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
