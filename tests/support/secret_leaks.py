"""Find secrets in the output of a program, in plain or encoded form."""

from __future__ import annotations

import re
from base64 import b64encode

_CONTEXT_CHARACTERS = 60


def leaks(text: str, *marks: str) -> list[str]:
    """Return the places where a text holds a mark, in plain form, in base64 or in hexadecimal digits.

    Args:
        text: the output.
        marks: parts of the secrets, only letters and digits, which no quoting changes.
    """
    assert all(mark.isascii() and mark.isalnum() for mark in marks)
    forms = "|".join(
        form
        for mark in marks
        for form in (f"(?i:{mark})", f"(?i:{mark.encode().hex()})", *_base64(mark))
    )
    return [
        text[max(0, found.start() - _CONTEXT_CHARACTERS) : found.end()]
        for found in re.finditer(forms, text)
    ]


def _base64(mark: str) -> list[str]:
    """Return the base64 forms of a mark within other text: three alignments, without the characters shared with neighbours."""
    forms = []
    for before in range(3):
        encoded = b64encode(bytes(before) + mark.encode()).decode()
        first, last = -(-before * 8 // 6), (before + len(mark)) * 8 // 6
        # The URL-safe alphabet differs in two characters.
        forms.append(re.escape(encoded[first:last]).replace(r"\+", "[+-]").replace("/", "[/_]"))
    return forms
