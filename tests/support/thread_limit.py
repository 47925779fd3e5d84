"""A process that is at its limit of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_UNAVAILABLE_BYTES = 1 << 46
"""A stack of this size exceeds every machine's memory, so that no thread with it can start."""


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Let the start of any thread fail."""
    before = threading.stack_size(_UNAVAILABLE_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)
