"""A process that is at its limit of threads or of memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

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


@contextmanager
def no_memory_in_new_threads() -> Iterator[None]:
    """Let every thread end before the interpreter has registered it, silently as SystemExit does."""
    identify, registered = threading.get_ident, {thread.ident for thread in threading.enumerate()}

    def identify_registered() -> int:
        if (ident := identify()) not in registered:
            raise SystemExit
        return ident

    with patch.object(threading, "get_ident", identify_registered):
        yield
