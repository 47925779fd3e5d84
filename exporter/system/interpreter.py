"""Tuning of the Python interpreter: its cyclic garbage collector and the C library's allocator."""

from __future__ import annotations

import ctypes
import gc
import platform

__all__ = ["raise_gc_threshold", "trim_freed_memory"]

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
