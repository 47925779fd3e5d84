"""The monotonic clock of ages and deadlines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial


def system_monotonic() -> Callable[[], float]:
    """Return the monotonic clock that counts the time while the machine is suspended or its virtual machine paused.

    That is CLOCK_BOOTTIME on Linux. On Windows `time.monotonic` does so.
    """
    if sys.platform != "win32" and hasattr(time, "CLOCK_BOOTTIME"):
        boottime = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        with suppress(OSError):  # the kernel or a sandbox lacks it
            boottime()
            return boottime
    return time.monotonic
