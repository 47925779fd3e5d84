"""Parses YAML into plain values: bounded, without duplicate keys; errors never quote the text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import yaml

from exporter.config.files import UTF16_PROBLEM, UnreadableError, is_utf16, read_start
from exporter.config.problems import ConfigError, Location, Problem, ProblemCollector
from exporter.config.suspicious_text import NOT_EXPANDED, lookalikes, looks_like_variable

MAX_FILE_BYTES = 1024 * 1024
_MAX_VALUES = 200_000
"""Values in a file once its aliases are expanded; a few nested aliases can make billions."""
_MAX_DEPTH = 50
# The characters at which PyYAML begins a new line.
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

_TAG = "tag:yaml.org,2002:"
_ESCAPE = r"unknown escape; single quotes take \ as it is"
_MESSAGES = {
    "found undefined alias": "an alias (*) without its anchor (&); quote text that starts with *",
    "found character": "a value cannot start with this character; quote the text",
    "found unknown escape character": _ESCAPE,
    "expected escape sequence": _ESCAPE,  # \U, \u or \x without its digits
    "mapping values are not allowed": "a key is not expected here; check the indentation, and "
    "quote text that contains a colon and a space",
    "could not find expected": "a colon and a space are missing after a key",
    "but found another document": "a second document (---) is not expected",
    "expected <block end>": "the indentation does not fit here, or quotes are closed too early",
    "expected ','": "a comma or the closing bracket is missing before this",
    "found unexpected end": "quotes are not closed",
    "expected a mapping or list": "<< takes a mapping",
    "expected a mapping for merging": "<< takes a mapping",
}
"""Messages by how PyYAML's, which may quote a secret, begin."""


def read_document(path: Path) -> tuple[object, ProblemCollector]:
    """Read a YAML file as `parse_document` does; the place of problems with the whole file is its path."""
    name = str(path)
    try:
        data = read_start(path, MAX_FILE_BYTES + 1)
    except UnreadableError as error:
        raise ConfigError([Problem(name, str(error))]) from error
    return parse_document(data, name)


def parse_document(data: bytes, name: str) -> tuple[object, ProblemCollector]:
    """Parse YAML into dicts with text keys, lists, text, numbers, booleans and None.

    Dates stay text. Duplicate keys are collected as problems; the first one counts. Characters that are not what they
    seem are collected as hints.

    Args:
        data: the file's content, in UTF-8.
        name: the place of problems with the file as a whole.

    Raises:
        ConfigError: the text is not valid YAML, or too large for a configuration.
    """
    problems = ProblemCollector()
    try:
        text = _decoded(data)
        problems.hints = [Problem(name, hint) for hint in lookalikes(text)]
        return _load(text, problems), problems
    except _RejectedError as error:
        problem = Problem(name, str(error))
    # Raised out here, the error has no context, which may hold parts of the file.
    raise ConfigError([*problems.hints, problem])


class _RejectedError(Exception):
    """The text cannot be loaded; the message gives the reason and, from the mark, the place."""

    def __init__(self, message: str, mark: yaml.Mark | None = None) -> None:
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        super().__init__(where + message)


def _decoded(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise _RejectedError(f"is larger than {MAX_FILE_BYTES // 1024} KiB")
    if is_utf16(data):
        raise _RejectedError(UTF16_PROBLEM)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _RejectedError(f"line {line}: not UTF-8 text") from None


def _load(text: str, problems: ProblemCollector) -> object:
    try:
        return _BoundedLoader(text, problems).get_single_data()
    except yaml.reader.ReaderError as error:
        lines = _LINE_BREAK.split(text[: error.position])
        raise _RejectedError(
            f"line {len(lines)}, column {len(lines[-1]) + 1}: "
            f"the character U+{ord(text[error.position]):04X} is not allowed"
        ) from None
    except yaml.MarkedYAMLError as error:
        message, mark = _message(error.problem or ""), error.problem_mark
        if mark is not None:
            line = _LINE_BREAK.split(text)[mark.line]
            message = _with_advice(message, line, mark.column)
        raise _RejectedError(message, mark) from None


def _with_advice(message: str, line: str, column: int) -> str:
    """Return the message with advice on what the line has that is often the cause; never quote the line."""
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation + line[column : column + 1]:
        return "a tab is not allowed here; use spaces"
    return f"{message}; {NOT_EXPANDED}" if looks_like_variable(line) else message


def _message(problem: str) -> str:
    for start, message in _MESSAGES.items():
        if problem.startswith(start):
            return message
    # Whatever PyYAML quotes is from the file.
    return re.split(r"[ ,;]*(?:but (?:found|got) )?['\"]", problem, maxsplit=1)[0] or "not YAML"


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds on depth and aliases, text keys, and no duplicate keys.

    All checks happen while nodes are composed, before merging and constructing expand aliases.

    Args:
        text: the YAML text.
        problems: collects duplicate keys.
    """

    def __init__(self, text: str, problems: ProblemCollector) -> None:
        super().__init__(text)
        self._problems = problems
        self._location: Location = ()
        self._extents: dict[yaml.Node, tuple[int, int]] = {}
        """Number of values and depth of each node, with aliases expanded."""

    def compose_node(self, parent: yaml.Node | None, index: int | yaml.Node | None) -> yaml.Node:
        """Compose one node; `index` is its list index, the node of its key, or None if it is a key."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # not in its stubs
        outside = self._location
        if parent is not None:
            self._location = (*outside, _key(index) if isinstance(index, yaml.Node) else index or 0)
        outer_depth = len(self._location)
        if outer_depth == _MAX_DEPTH:
            raise _RejectedError("nested too deeply", event.start_mark)
        node = cast("yaml.Node", super().compose_node(parent, cast("int", index)))
        self._location = outside
        if not isinstance(event, yaml.AliasEvent):
            self._extents[node] = self._extent(node)
        elif node not in self._extents:
            raise _RejectedError("an alias inside the value that it refers to", node.start_mark)
        values, depth = self._extents[node]
        if outer_depth + depth > _MAX_DEPTH:
            raise _RejectedError("nested too deeply", event.start_mark)
        if values > _MAX_VALUES:
            raise _RejectedError("too many values once aliases are expanded", event.start_mark)
        return node

    def _extent(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            return 1, 1
        is_mapping = isinstance(node, yaml.MappingNode)
        inner = [value for _, value in node.value] if is_mapping else node.value
        extents = [self._extents[value] for value in inner]
        values = 1 + sum(values for values, _ in extents)
        return values, 1 + max((depth for _, depth in extents), default=0)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping with its keys as text; report and drop duplicates."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, yaml.Mark] = {}
        pairs = []
        for key_node, value_node in node.value:
            key, mark = _key(key_node), key_node.start_mark
            if key in first:
                self._problems.report(
                    (*self._location, key),
                    f"duplicate key in line {mark.line + 1}, first in line {first[key].line + 1}",
                )
                continue
            first[key] = mark
            tag = key_node.tag if key_node.tag == f"{_TAG}merge" else f"{_TAG}str"
            pairs.append((yaml.ScalarNode(tag, key, mark, key_node.end_mark), value_node))
        node.value = pairs
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Construct one value; reject a malformed number or boolean without quoting it."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError):
            # Without its cause, which holds the value.
            raise _RejectedError(
                "looks like a number or boolean but is not one; quote text", node.start_mark
            ) from None

    def reject_tag(self, node: yaml.Node) -> object:
        """Reject a node with a tag other than those of plain values."""
        # The message does not quote the tag: an unquoted secret that starts with ! is one.
        raise _RejectedError(
            "tags (!) are not supported; quote text that starts with !", node.start_mark
        )


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _RejectedError("a key must be a word", node.start_mark)
    return str(node.value)


for _tag in ("timestamp", "value"):
    # Dates, and YAML 1.1's default value (`=`), stay text.
    _BoundedLoader.add_constructor(f"{_TAG}{_tag}", lambda _, node: str(node.value))
for _tag in ("binary", "omap", "pairs", "set"):
    _BoundedLoader.add_constructor(f"{_TAG}{_tag}", _BoundedLoader.reject_tag)
_BoundedLoader.add_constructor(None, _BoundedLoader.reject_tag)
