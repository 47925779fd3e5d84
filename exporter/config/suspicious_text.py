"""Suspicious text in a configuration: invisible or look-alike characters, quotes, variables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice

NOT_EXPANDED = "variables are not expanded"

_MAX_MESSAGES = 3
_MAX_COLUMNS = 1000

_CONTROLS = frozenset({"Cc", "Zl", "Zp"})
_NAMES = {"\0": "NUL", "\b": "backspace", "\t": "tab", "\n": "line feed", "\r": "carriage return"}
_ESCAPES = dict(zip("\0\a\b\t\n\v\f\r\x1b\x85\xa0\u2028\u2029", "0abtnvfreN_LP", strict=True))
"""The letters after a backslash that YAML turns into these characters in double quotes."""

_QUOTES = {"'", '"'}
_LOW_QUOTES = "\u201a\u201e"
_MINUS, _WIDE_COLON = "\u2212", "\uff1a"
_VARIABLE = re.compile(r"\$\{[A-Za-z_]|^\$[A-Z_][A-Z0-9_]+$|^%[A-Z_][A-Z0-9_]+%$|\{\{.*\}\}")


def describe(character: str) -> str:
    """Return the code point and, if it has one, the name: `U+00A0 (no-break space)`."""
    name = _NAMES.get(character) or unicodedata.name(character, "").lower()
    code = f"U+{ord(character):04X}"
    return f"{code} ({name})" if name else code


def require_printable(text: str) -> None:
    """Reject text with an unprintable character.

    Raises:
        ValueError: there is one; the message names it, but does not quote the text.
    """
    for character in text:
        if not character.isprintable():
            message = f"contains {describe(character)}"
            if letter := _ESCAPES.get(character):
                message += f"; YAML reads \\{letter} as this character in double quotes, and literally in single quotes"
            raise ValueError(message)


def control_character(text: str) -> str | None:
    """Return the first control character or line break in a text, or None."""
    return next((c for c in text if unicodedata.category(c) in _CONTROLS), None)


def invisible_character(text: str) -> str | None:
    """Return the first format character or unusual space in a text, or None."""
    return next((c for c in text if _is_invisible(c)), None)


def _is_invisible(character: str) -> bool:
    return character != " " and unicodedata.category(character) in {"Cf", "Zs"}


def looks_like_variable(text: str) -> bool:
    """Return whether a text contains `${NAME` or `{{...}}`, or is `$NAME` or `%NAME%`."""
    return _VARIABLE.search(text) is not None


def lookalikes(text: str) -> Iterator[str]:
    """Yield messages about characters in YAML text that are not what they seem, each with its line and column.

    Comments are skipped, and so are quotes and dashes inside words. At most one message per line, and three in all.
    """
    firsts = (
        islice(_lookalikes_in(line, number), 1)
        for number, line in enumerate(text.split("\n"), 1)
        if not line.isascii()
    )
    return islice(chain.from_iterable(firsts), _MAX_MESSAGES)


def _lookalikes_in(line: str, number: int) -> Iterator[str]:
    content = re.split(r"(?:^|\s)#", line[:_MAX_COLUMNS], maxsplit=1)[0]
    for index, character in enumerate(content):
        if character.isascii() or character.isalnum():
            continue
        if _is_invisible(character):
            why = "is invisible; remove it or use a space"
        elif (intended := _intended(character)) and _is_outside_words(content, index, intended):
            why = f"has no meaning in YAML; use {intended}"
        else:
            continue
        yield f"line {number}, column {index + 1}: {describe(character)} {why}"


def _is_outside_words(content: str, index: int, intended: str) -> bool:
    before, after = content[:index].rstrip(" "), content[index + 1 :].lstrip(" ")
    if intended == "-":
        return not before
    return intended == ":" or before[-1:] in {"", *":,[{-"} or after[:1] in {"", *":,]}"}


def _intended(character: str) -> str | None:
    """Return the YAML character that an editor or a keyboard replaced with this one, or None."""
    category = unicodedata.category(character)
    if category in {"Pi", "Pf"} or character in _LOW_QUOTES:
        return "'" if "SINGLE" in unicodedata.name(character) else '"'
    if category == "Pd" or character == _MINUS:
        return "-"
    return ":" if character == _WIDE_COLON else None


def is_quoted(text: str) -> bool:
    """Return whether a text starts and ends with quotes, straight or typographic."""
    ends = {text[:1], text[-1:]}
    is_straight = len(ends) == 1 and ends <= _QUOTES
    return len(text) > 1 and (is_straight or set(map(_intended, ends)) <= _QUOTES)
