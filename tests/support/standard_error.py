"""Standard errors of a program that nobody reads, and none at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

WITHOUT_STDERR = ("/bin/sh", "-c", 'exec "$0" "$@" 2>&-')
"""Runs the command that follows it without standard error."""


@contextmanager
def full_pipe() -> Iterator[int]:
    """Yield a pipe that accepts no more bytes, as nobody reads it."""
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        os.write(write, bytes(4096))
        os.set_blocking(write, True)
        yield write
    finally:
        os.close(read)
        os.close(write)


@contextmanager
def unread_pipe() -> Iterator[int]:
    """Yield a pipe whose reader has closed it."""
    read, write = os.pipe()
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)


@contextmanager
def no_stderr() -> Iterator[None]:
    """Yield nothing to give as standard error."""
    yield None
