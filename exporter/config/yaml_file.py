"""YAML text to plain values: bounded, without duplicate keys, and without repeating its content."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from exporter.config.files import UnreadableError, read_start
from exporter.config.problems import ConfigError, Location, Problem, ProblemCollector

__all__ = ["parse_document", "read_document"]

LARGEST_FILE_BYTES = 1024 * 1024
_MOST_VALUES = 200_000
"""Values in a file after its aliases are followed; a few aliases of aliases make billions."""
_DEEPEST = 50

_TAG = "tag:yaml.org,2002:"
_BOOLEANS = yaml.constructor.SafeConstructor.bool_values

_OWN_WORDS = {
    "found undefined alias": "an alias (*) without its anchor (&); quote text that starts with *",
    "found character": "a value cannot start with this character; quote the text",
    "found unknown escape character": r"unknown escape; single quotes take \ as it is",
    "mapping values are not allowed": "a key is not expected here; check the indentation, and "
    "quote text that has a colon and a space",
    "could not find expected": "a colon and a space are missing after a key",
    "but found another document": "a second document (---) is not expected",
    "expected <block end>": "the indentation does not fit here, or quotes are closed too early",
    "expected ','": "a comma or the closing bracket is missing before this",
    "found unexpected end": "quotes are not closed",
}
"""By how PyYAML's message starts, what is said instead: its own words may repeat a secret."""


def read_document(path: Path) -> tuple[object, ProblemCollector]:
    """Read a YAML file; see `parse_document`. The path as given is the place of its problems."""
    name = str(path)
    try:
        data = read_start(path, LARGEST_FILE_BYTES + 1)
    except UnreadableError as error:
        raise ConfigError([Problem(name, str(error))]) from error
    return parse_document(data, name)


def parse_document(data: bytes, name: str) -> tuple[object, ProblemCollector]:
    """Turn YAML into dicts with text keys, lists, text, numbers, booleans and None.

    Dates stay text. Duplicate keys are among the returned problems; the first one counts.

    Args:
        data: the file's content, in UTF-8.
        name: the place of problems that concern the file as a whole.

    Raises:
        ConfigError: the text is no YAML, or more of it than a configuration can be.
    """
    problems = ProblemCollector()
    if len(data) > LARGEST_FILE_BYTES:
        raise ConfigError([Problem(name, f"is larger than {LARGEST_FILE_BYTES // 1024} KiB")])
    try:
        node = _compose(data)
        value = None if node is None else _Builder(problems).value(node, ())
    except _RefusedError as error:
        problem = Problem(name, str(error))
    else:
        return value, problems
    # Out here, the error carries no context: that may hold parts of the file.
    raise ConfigError([problem])


class _RefusedError(Exception):
    """The text cannot be read; the message says why and, with a mark, in which line."""

    def __init__(self, message: str, mark: yaml.Mark | None = None) -> None:
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        super().__init__(where + message)


class _Loader(yaml.SafeLoader):
    """Composes nodes, but not so deep that Python's stack ends."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # not in its stubs
            raise _RefusedError("nested too deeply", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(data: bytes) -> yaml.Node | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _RefusedError(f"line {line}: not UTF-8 text") from None
    try:
        return _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        lines = text[: error.position].split("\n")
        raise _RefusedError(
            f"line {len(lines)}, column {len(lines[-1]) + 1}: "
            f"the character U+{ord(text[error.position]):04X} is not allowed"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _RefusedError(_in_own_words(error.problem or ""), error.problem_mark) from None


def _in_own_words(problem: str) -> str:
    for start, words in _OWN_WORDS.items():
        if problem.startswith(start):
            return words
    # What PyYAML quotes is from the file.
    return re.split(r"[ ,;]*(?:but (?:found|got) )?['\"]", problem, maxsplit=1)[0] or "not YAML"


class _Builder:
    """Makes values of nodes."""

    def __init__(self, problems: ProblemCollector) -> None:
        self._findings = problems
        self._left = _MOST_VALUES
        self._open: set[int] = set()

    def value(self, node: yaml.Node, location: Location) -> object:
        self._left -= 1
        if self._left < 0:
            raise _RefusedError("aliases make this more than a configuration", node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._open:
            raise _RefusedError("an alias stands inside what it refers to", node.start_mark)
        self._open.add(id(node))
        made: object
        if isinstance(node, yaml.MappingNode):
            made = self._mapping(node, location)
        elif isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            made = [self.value(item, (*location, i)) for i, item in enumerate(node.value)]
        else:
            raise _unsupported(node)
        self._open.discard(id(node))
        return made

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        if node.tag != f"{_TAG}map":
            raise _unsupported(node)
        first: dict[str, yaml.Mark] = {}
        merged: dict[str, object] = {}
        own: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _RefusedError("a key must be a word", key_node.start_mark)
            key = key_node.value
            if key in first:
                self._findings.report(
                    (*location, key),
                    f"duplicate key in line {key_node.start_mark.line + 1}, "
                    f"first in line {first[key].line + 1}",
                )
                continue
            first[key] = key_node.start_mark
            if key_node.tag == f"{_TAG}merge":
                merged = self._merge(value_node, location)
            else:
                own[key] = self.value(value_node, (*location, key))
        return merged | own

    def _merge(self, node: yaml.Node, location: Location) -> dict[str, object]:
        """The keys that `<<` brings: one mapping, or a list of them of which the first wins."""
        made = self.value(node, location)
        merged: dict[str, object] = {}
        for source in reversed(made if isinstance(made, list) else [made]):
            if not isinstance(source, dict):
                raise _RefusedError("<< takes a mapping", node.start_mark)
            merged |= source
        return merged


def _scalar(node: yaml.ScalarNode) -> object:
    text: str = node.value
    kind = node.tag.removeprefix(_TAG)
    try:
        match kind:
            case "str" | "timestamp" | "value":
                return text
            case "null":
                return None
            case "bool":
                return _BOOLEANS[text.lower()]
            case "int":
                return yaml.constructor.SafeConstructor().construct_yaml_int(node)
            case "float":
                return yaml.constructor.SafeConstructor().construct_yaml_float(node)
    except (ValueError, LookupError):
        # The cause holds the value.
        raise _RefusedError(
            "not the number or truth value it seems to be; quote text", node.start_mark
        ) from None
    raise _unsupported(node)


def _unsupported(node: yaml.Node) -> _RefusedError:
    # The tag stays unsaid: an unquoted secret that starts with ! is one.
    return _RefusedError(
        "tags (!) are not supported; quote text that starts with !", node.start_mark
    )
