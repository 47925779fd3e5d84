"""Characters that cannot be seen, or that look like the ones YAML expects."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = [
    "NOT_REPLACED",
    "control_character",
    "described",
    "invisible_character",
    "is_quoted",
    "lookalikes",
    "names_a_variable",
    "require_printable",
]

NOT_REPLACED = "variables are not replaced"

_MAX_LINES = 3
_MAX_COLUMNS = 1000

_CONTROLS = frozenset({"Cc", "Zl", "Zp"})
_NAMES = {"\0": "NUL", "\b": "backspace", "\t": "tab", "\n": "line feed", "\r": "carriage return"}
_ESCAPES = dict(zip("\0\a\b\t\n\v\f\r\x1b\x85\xa0\u2028\u2029", "0abtnvfreN_LP", strict=True))
"""The letters after a backslash that YAML turns into these characters in double quotes."""

_QUOTES = {"'", '"'}
_LOW_QUOTES = "\u201a\u201e"
_MINUS, _WIDE_COLON = "\u2212", "\uff1a"
_VARIABLE = re.compile(r"\$\{[A-Za-z_]|^\$[A-Z_][A-Z0-9_]+$|^%[A-Z_][A-Z0-9_]+%$|\{\{.*\}\}")


def described(character: str) -> str:
    """Return the code point and, if it has one, the name: `U+00A0 (no-break space)`."""
    name = _NAMES.get(character) or unicodedata.name(character, "").lower()
    code = f"U+{ord(character):04X}"
    return f"{code} ({name})" if name else code


def require_printable(text: str) -> None:
    """Do nothing if each character of a text can be printed.

    Raises:
        ValueError: one cannot; the message names it, but does not quote the text.
    """
    for character in text:
        if not character.isprintable():
            letter = _ESCAPES.get(character)
            advice = f"; YAML reads \\{letter} in double quotes as this, in single quotes as it is"
            raise ValueError(f"contains {described(character)}{advice if letter else ''}")


def control_character(text: str) -> str | None:
    """Return the first control character or line break in a text, or None."""
    return next((c for c in text if unicodedata.category(c) in _CONTROLS), None)


def invisible_character(text: str) -> str | None:
    """Return the first character that has no shape of its own, other than a space, or None."""
    return next((c for c in text if _is_invisible(c)), None)


def _is_invisible(character: str) -> bool:
    return character != " " and unicodedata.category(character) in {"Cf", "Zs"}


def names_a_variable(text: str) -> bool:
    """Return whether a text has a reference such as `${NAME}`, `%NAME%` or `{{ name }}`."""
    return _VARIABLE.search(text) is not None


def lookalikes(text: str) -> Iterator[str]:
    """Yield messages about characters in YAML text that are not what they seem, each with its line and column.

    Comments are skipped, and so are quotes and dashes inside words. One message per line and a few per text are enough:
    the rest repeats the mistake.
    """
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        found = [] if line.isascii() else sorted(_lookalikes_in(line))
        if found:
            column, why = found[0]
            yield f"line {number}, column {column + 1}: {described(line[column])} {why}"
            count += 1
        if count == _MAX_LINES:
            return


def _lookalikes_in(line: str) -> Iterator[tuple[int, str]]:
    content = re.split(r"(?:^|\s)#", line[:_MAX_COLUMNS], maxsplit=1)[0]
    for column, character in enumerate(content):
        if character.isascii() or character.isalnum():
            continue
        if _is_invisible(character):
            yield column, "is invisible; remove it or use a space"
        elif (meant := _meant(character)) and _is_outside_words(content, column, meant):
            yield column, f"is only text in YAML; use {meant}"


def _is_outside_words(content: str, column: int, meant: str) -> bool:
    before, after = content[:column].rstrip(" "), content[column + 1 :].lstrip(" ")
    if meant == "-":
        return not before
    return meant == ":" or before[-1:] in {"", *":,[{-"} or after[:1] in {"", *":,]}"}


def _meant(character: str) -> str | None:
    """Return the character of YAML that an editor or a keyboard replaced by this one, or None."""
    category = unicodedata.category(character)
    if category in {"Pi", "Pf"} or character in _LOW_QUOTES:
        return "'" if "SINGLE" in unicodedata.name(character) else '"'
    if (category == "Pd" and character != "-") or character == _MINUS:
        return "-"
    return ":" if character == _WIDE_COLON else None


def is_quoted(text: str) -> bool:
    """Return whether a text starts and ends with quotes, typographic ones included."""
    ends = {text[:1], text[-1:]}
    is_straight = len(ends) == 1 and ends <= _QUOTES
    return len(text) > 1 and (is_straight or set(map(_meant, ends)) <= _QUOTES)
