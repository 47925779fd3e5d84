"""Finding a secret in what a program says, in the forms in which it may have got there."""

from __future__ import annotations

import re
from base64 import b64encode

_CONTEXT_CHARACTERS = 60


def leaks(text: str, *marks: str) -> list[str]:
    """Where a text holds one of the marks: as it is, percent-encoded or escaped, in base64, in hexadecimal digits.

    Args:
        text: what was said.
        marks: parts of the secrets, of letters and digits only: no way of quoting changes those.
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
    """What it looks like in base64, whatever stands before and behind it: three alignments, without the mixed ends."""
    forms = []
    for before in range(3):
        encoded = b64encode(bytes(before) + mark.encode()).decode()
        first, last = -(-before * 8 // 6), (before + len(mark)) * 8 // 6
        # The URL-safe alphabet writes two digits in another way.
        forms.append(re.escape(encoded[first:last]).replace(r"\+", "[+-]").replace("/", "[/_]"))
    return forms
