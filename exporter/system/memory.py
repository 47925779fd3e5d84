"""Has memory that is not used any more given back to the system."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

__all__ = ["trim_freed_memory"]

_M_TRIM_THRESHOLD: Final = -1
_KEPT_BYTES: Final = 128 << 10
"""What glibc begins with."""


def trim_freed_memory() -> None:
    """Let no thread keep more than 128 KiB of what it has freed.

    glibc keeps more the larger the blocks are that it has seen: after a few answers as large as the bound allows, that
    would be 32 MiB for each thread that has made requests, for as long as the process lives. Nothing to do elsewhere.
    """
    if platform.libc_ver()[0] == "glibc":
        # Once this is set, glibc leaves it and its other threshold alone.
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
