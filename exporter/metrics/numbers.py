"""Numbers as the exposition formats write them."""

from __future__ import annotations

from prometheus_client.utils import floatToGoString

__all__ = ["go_float"]

# Digits before the point from which on Go writes an exponent; a Unix time has ten.
_PLAIN_BELOW = 1e6
_TIMES_FROM, _TIMES_BELOW = 1e9, 1e10


def go_float(value: float) -> str:
    """A number in the spelling of the client library, which is Go's.

    The library is asked for the rare ones only: every session has two times, and they are most of the numbers served.
    """
    value = float(value)
    if _TIMES_FROM <= value < _TIMES_BELOW:
        digits = repr(value)
        fraction = digits[11:]
        if fraction == "0":
            return f"{digits[0]}.{digits[1:10]}".rstrip("0.") + "e+09"
        return f"{digits[0]}.{digits[1:10]}{fraction}e+09"
    if -_PLAIN_BELOW < value < _PLAIN_BELOW:
        return repr(value)
    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # the library does not type it
