"""A server that begins lists of new sessions later than requested, as if the time were of another time zone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from exporter.polling.plan import ListRequest

# A zone and UTC differ by up to 14 hours.
_MARGIN = timedelta(days=1)
_MIN_POLLS = 2
"""A single list may lack sessions for other reasons."""


class LateLists:
    """Notices late lists by stored sessions that they lack, but that a full list shows; from then on, requests them earlier.

    Attributes:
        are_late: whether lists of new sessions begin late.
        lacking: the stored sessions that the last list of new ones should have shown.
    """

    def __init__(self) -> None:
        self.are_late = False
        self.lacking: set[str] = set()
        self._lacking_exist = False  # whether a full list of this poll shows any of them
        self._polls = 0  # in which it did, since a list of new sessions last lacked none

    def begin_poll(self) -> None:
        """Evaluate the lists of the previous poll."""
        self._polls += self._lacking_exist
        self._lacking_exist = False
        self.are_late |= self._polls >= _MIN_POLLS

    def request(self, created_since: datetime) -> ListRequest:
        """Return the list that shows the sessions created since."""
        margin = _MARGIN if self.are_late else timedelta(0)
        return ListRequest(created_since=created_since - margin, margin=margin)

    def end_list(self, lacking: set[str]) -> None:
        """Record which stored sessions a list of new ones lacks."""
        self.lacking = lacking
        if not lacking:
            self._polls = 0

    def compare(self, listed: Collection[str]) -> None:
        """Compare them with a full list."""
        self._lacking_exist |= not self.lacking.isdisjoint(listed)
