"""The one gate that every label value passes on its way to `/metrics`."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["MAX_LABEL_CHARACTERS", "escaped", "label_value"]

MAX_LABEL_CHARACTERS = 512

# Lone surrogates cannot be encoded; control characters (C0 but for newline, DEL, C1) break terminals and logs.
_UNFIT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def label_value(text: str) -> str:
    """Text from anywhere as a label value: what is unfit becomes U+FFFD, what is too long is cut."""
    cut = text[:MAX_LABEL_CHARACTERS]
    # Most texts are fit, and what is printable is: asking for that is several times as fast.
    return cut if cut.isprintable() else _UNFIT.sub("\ufffd", cut)


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """A label value as it stands between quotation marks in the exposition formats."""
    return label_value(text).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
