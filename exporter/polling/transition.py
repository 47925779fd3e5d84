"""What a record means for the life cycle of its session."""

from __future__ import annotations

from enum import Enum, auto


class Transition(Enum):
    """What a record means for the life cycle of its session."""

    STARTED = auto()
    """Started after the baseline and is running."""
    RAN = auto()
    """Started after the baseline and has already finished; stored only if it is within its lookback."""
    FOUND = auto()
    """New to the store, but from before the baseline, or evicted or counted earlier: not an event."""
    FINISHED = auto()
    """Was running in the store, or when it left the store, and has finished."""
    REOPENED = auto()
    """Was finished and is running again."""
    FINISHED_AGAIN = auto()
    """Finished again after it was reopened, perhaps unseen, or after it left the store; its first finish was counted."""
    CORRECTED = auto()
    """Was already finished; some of its values changed, but not its end."""
    UNCHANGED = auto()
    """Still running, or finished with the same values."""
    EXPIRED = auto()
    """Past its lookback; not stored."""
    IGNORED = auto()
    """Expired earlier, or did not fit; not stored."""


# Tuples, as Python 3.11 looks up an enum's member more slowly than it searches a tuple.
NEW_TO_STORE = (Transition.FOUND, Transition.STARTED, Transition.RAN, Transition.IGNORED)
COUNTED_STARTS = (Transition.STARTED, Transition.RAN)
COUNTED_FINISHES = (Transition.FINISHED, Transition.RAN)
FINISHES = (*COUNTED_FINISHES, Transition.FINISHED_AGAIN)
CHANGES = (Transition.FOUND, Transition.STARTED, *FINISHES)
"""The transitions that the audit log records."""
CANCELLING = (Transition.EXPIRED, Transition.REOPENED)
"""The transitions after which requests for the session are no longer due."""
