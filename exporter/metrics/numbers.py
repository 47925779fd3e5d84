"""Numbers as the exposition formats write them."""

from __future__ import annotations

from prometheus_client.utils import floatToGoString

__all__ = ["go_float"]


def go_float(value: float) -> str:
    """A number in the spelling of the client library, which is Go's."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # the library does not type it
