"""What kept a poll from getting everything it asked for, and how much of the poll that concerns."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.vb365.errors import Reason, Vb365Error

__all__ = ["PollFailure", "ends_poll", "is_server_wide"]

# The server itself cannot be talked to.
_SERVER_WIDE = frozenset({Reason.CONNECT, Reason.TLS, Reason.AUTH, Reason.THROTTLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PollFailure:
    """One of the failures of a poll."""

    reason: Reason
    message: str
    of_one_session: bool = False

    def is_news_after(self, other: PollFailure | None) -> bool:
        """True when whoever was told of the other one has to be told of this one too."""
        return other is None or (self.reason, self.of_one_session) != (
            other.reason,
            other.of_one_session,
        )


def is_server_wide(error: Vb365Error) -> bool:
    """True when whatever else is asked would fail just the same: no connection to be had, or no token."""
    return error.reason in _SERVER_WIDE or error.operation == "token"


def ends_poll(error: Vb365Error) -> bool:
    """The same for a list: one that is not answered in time will not be followed by quick answers either."""
    return is_server_wide(error) or error.reason is Reason.TIMEOUT
