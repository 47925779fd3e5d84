"""Tuning of the Python interpreter: its cyclic garbage collector, the C library's allocator, and its exit."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import platform
import sys
from contextlib import suppress
from typing import NoReturn

_GC_THRESHOLD = 50_000
_M_TRIM_THRESHOLD = -1
_GLIBC_DEFAULT_TRIM_BYTES = 128 << 10


def raise_gc_threshold() -> None:
    """Run the cyclic garbage collector less often than by default.

    Sessions are numerous, long-lived and never part of a cycle. Scanning them at the default threshold of 700 allocations
    takes up to a third of the first poll's time.
    """
    gc.set_threshold(_GC_THRESHOLD)


def trim_freed_memory() -> None:
    """Keep each thread from retaining more than 128 KiB of freed memory. Does nothing without glibc.

    By default glibc raises the trim threshold with the size of freed blocks: after a few responses of the maximum size,
    every thread that made requests would retain 32 MiB for the life of the process.
    """
    if platform.libc_ver()[0] == "glibc":
        # Setting the threshold disables its automatic adjustment.
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _GLIBC_DEFAULT_TRIM_BYTES)


def exit_without_teardown(status: int) -> NoReturn:
    """Call the functions registered with `atexit`, flush the standard streams, and end the process.

    `sys.exit` would also destroy all objects: after 300 servers were polled, that took five seconds on two busy cores.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - otherwise only `sys.exit` calls them
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # its reader has closed it
                stream.flush()
    os._exit(status)
