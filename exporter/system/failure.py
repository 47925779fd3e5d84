"""The exit status of a command that an error has ended, even one that could not be imported completely."""

import os
from contextlib import suppress

UNKNOWN = 3
"""The exit status of `--check-idle` if it is not known whether a session is open; 1 means that one is."""


def failure_status(*, checks_idle: bool) -> int:
    """Return the exit status after an error that has been reported: 1, or UNKNOWN for `--check-idle`.

    For `--check-idle`, also print the line that Nagios expects.
    """
    if not checks_idle:
        return 1
    with suppress(OSError):  # the exit status says the same
        os.write(1, b"UNKNOWN - nothing was checked, the reason is on standard error\n")
    return UNKNOWN
