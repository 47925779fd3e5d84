"""The interfaces that a poller depends on, an API and an observer, and what it requests of an API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Protocol

from exporter.config import Extra
from exporter.vb365.errors import Reason
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.organization import Organization, OrganizationRejection
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession


class EventSource(Protocol):
    """The events of one session; `exporter.vb365.event_reader.EventReader` implements it."""

    def read(self, until: float) -> EventSummary | None:
        """Fetch events until `until` (monotonic seconds); return their totals, or None if there are more to fetch."""


class Api(Protocol):
    """The part of `exporter.vb365.client.Client` that a poller uses."""

    @property
    def api_version(self) -> str | None:
        """The URL prefix in use; None until it is known."""

    @property
    def has_statistics(self) -> bool:
        """Whether the API version in use has session statistics."""

    @property
    def server_time(self) -> datetime | None:
        """The server's own time, from its newest successful response; None if it does not send it."""

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate that the server last presented expires."""

    def retrying_until(self, deadline: float) -> AbstractContextManager[None]:
        """Within this context only, retry failed requests until `deadline` (monotonic seconds)."""

    def product_version(self) -> str:
        """Fetch the server's product version."""

    def organizations(
        self, *, until: float = inf, on_rejected: Callable[[OrganizationRejection], None]
    ) -> tuple[Organization, ...]:
        """Fetch the organizations that the account can see; abort the request at `until` (monotonic seconds)."""

    def list_sessions(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        """Fetch sessions page by page, newest first.

        Raises:
            RecordsMovedError: sessions may be missing, because others were deleted while the list was read.
        """

    def get_session(self, session_id: str, *, until: float = inf) -> RestoreSession | Rejection:
        """Fetch one session; abort the request at `until` (monotonic seconds)."""

    def statistics(self, session_id: str, *, until: float = inf) -> Statistics:
        """Fetch the number of items that a session restored; abort the request at `until` (monotonic seconds)."""

    def events(self, session_id: str) -> EventSource:
        """Return a reader of a session's events."""


class PollObserver(Protocol):
    """Counts polls and anomalies; implemented by the exporter's own metrics."""

    def polled(self, reason: Reason | None) -> None:
        """Count a poll; `reason` is the reason of its first failure, None if it succeeded."""

    def poll_unpublished(self) -> None:
        """Count a poll as failed that was counted as successful, because its result could not be published."""

    def overran(self) -> None:
        """Count a poll that took longer than the poll interval."""

    def rejected(self, reason: str, count: int = 1) -> None:
        """Count records that are not valid restore sessions or organizations, or are too many."""

    def unknown_value(self, field: str) -> None:
        """Count a value in a record that is not interpreted."""

    def extra_failed(self, extra: str, reason: Reason) -> None:
        """Count a failed request for an extra of a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraRequest:
    """One extra of one session."""

    session_id: str
    extra: Extra
