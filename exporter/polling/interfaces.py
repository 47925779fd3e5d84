"""What polling needs of others: an API to ask, and somebody who counts. Tests put their own in place of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from exporter.vb365.errors import Reason
from exporter.vb365.instance import ServiceInstance
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession

__all__ = ["Api", "PollObserver"]


class Api(Protocol):
    """What a poller needs of `exporter.vb365.client.Client`."""

    @property
    def api_version(self) -> str | None:
        """The prefix in use, None until it is known."""

    @property
    def has_statistics(self) -> bool:
        """Whether the version in use has statistics of sessions."""

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate the server showed last expires."""

    def poll(self, deadline: float) -> AbstractContextManager[None]:
        """Bound the retries of the requests within by monotonic seconds."""

    def service_instance(self) -> ServiceInstance:
        """Ask what the server is."""

    def list_sessions(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        """Ask for sessions page by page, newest first."""

    def get_session(self, session_id: str) -> RestoreSession | Rejection:
        """Ask for one session."""

    def statistics(self, session_id: str) -> Statistics:
        """Ask how many items a session restored."""

    def events(self, session_id: str) -> EventSummary:
        """Ask what happened in a session."""


class PollObserver(Protocol):
    """Who counts what polls come across; the exporter's own metrics."""

    def polled(self, reason: Reason | None) -> None:
        """A poll has ended, well or with its first failure's reason."""

    def overran(self) -> None:
        """A poll took longer than the poll interval."""

    def rejected(self, reason: str) -> None:
        """A record was no restore session."""

    def unknown_value(self, field: str) -> None:
        """A record held an enum value that is not known."""

    def extra_failed(self, extra: str, reason: Reason) -> None:
        """An extra of a session was not answered."""
