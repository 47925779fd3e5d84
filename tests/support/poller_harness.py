"""A poller with a fake API, clock and observer, which collects its snapshots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import inf
from typing import Any

from exporter.config import AuthConfig, ServerConfig, SessionsConfig
from exporter.config.secrets import SecretSource
from exporter.polling.changefeed import ChangeQueue, PendingChanges
from exporter.polling.clock import Clock, Moment
from exporter.polling.loop import PollLoop
from exporter.polling.poller import Poller
from exporter.polling.server_state import ServerState
from exporter.polling.snapshot import Snapshot
from exporter.vb365.errors import NotFoundError, Reason, ServerError, Vb365Error
from exporter.vb365.records.changes import SessionChange
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.organization import Organization, OrganizationRejection
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession
from support.ledger_harness import sessions_config
from support.sample_sessions import NOON


class StandingClock(Clock):
    """A clock that only tests advance."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def timestamp(self) -> float:
        return self.now().wall.timestamp()

    def now(self) -> Moment:
        return Moment(monotonic=self.seconds, wall=NOON + timedelta(seconds=self.seconds - 1000))


class FakeApi:
    """An API that serves a dictionary of sessions, and fails where a test wants it to."""

    api_version: str | None = "v8"
    has_statistics = True
    certificate_not_after: datetime | None = None
    server_time: datetime | None = None

    def __init__(self, *sessions: RestoreSession) -> None:
        self.sessions = {session.id: session for session in sessions}
        self.list_error: Vb365Error | None = None
        self.version_error: Vb365Error | None = None
        self.organizations_error: Vb365Error | None = None
        self.organizations_listed: tuple[Organization, ...] = ()
        self.organization_rejections: tuple[OrganizationRejection, ...] = ()
        self.organization_deadlines: list[float] = []
        """When each request for organizations had to end."""
        self.get_errors: dict[str, Vb365Error] = {}
        self.unreadable: set[str] = set()
        self.rejections: tuple[Rejection, ...] = ()
        self.statistics_of: dict[str, Statistics | Vb365Error] = {}
        self.events_of: dict[str, EventSummary | Vb365Error] = {}
        self.event_pauses: dict[str, int] = {}
        """How often reading a session's events pauses before it is at its end."""
        self.on_extra: Callable[[str, float], object] = lambda _session_id, _until: None
        """Called with the session and the end of the available time when an extra is requested."""
        self.calls: list[str] = []
        self.deadlines: list[float] = []

    @contextmanager
    def retrying_until(self, deadline: float) -> Iterator[None]:
        self.deadlines.append(deadline)
        yield

    def product_version(self) -> str:
        self.calls.append("service_instance")
        if self.version_error:
            raise self.version_error
        return "8.4"

    def organizations(
        self, *, until: float = inf, on_rejected: Callable[[OrganizationRejection], None]
    ) -> tuple[Organization, ...]:
        self.organization_deadlines.append(until)
        for rejection in self.organization_rejections:
            on_rejected(rejection)
        if self.organizations_error:
            raise self.organizations_error
        return self.organizations_listed

    def list_sessions(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        self.calls.append("list")
        newest_first = sorted(
            self.sessions.values(), key=lambda one: one.creation_time, reverse=True
        )
        wanted = [
            one
            for one in newest_first
            if created_since is None or one.creation_time > created_since
        ]
        yield Page(sessions=tuple(wanted[:page_size]), rejections=self.rejections)
        if self.list_error:
            raise self.list_error

    def get_session(
        self,
        session_id: str,
        *,
        until: float = inf,  # noqa: ARG002 - as the API has it
    ) -> RestoreSession | Rejection:
        self.calls.append(f"get {session_id}")
        if session_id in self.get_errors:
            raise self.get_errors[session_id]
        if session_id in self.unreadable:
            return Rejection(
                reason=RejectionReason.WRONG_TYPE, field="state", session_id=session_id
            )
        if session_id not in self.sessions:
            raise NotFoundError("no such session", operation="get")
        return self.sessions[session_id]

    def statistics(self, session_id: str, *, until: float = inf) -> Statistics:
        self.calls.append(f"statistics {session_id}")
        self.on_extra(session_id, until)
        answer = self.statistics_of.get(session_id, Statistics(restored=0))
        if isinstance(answer, Vb365Error):
            raise answer
        return answer

    def events(self, session_id: str) -> FakeEvents:
        return FakeEvents(self, session_id)


class FakeEvents:
    """The events of a session, read in as many goes as its API says."""

    def __init__(self, api: FakeApi, session_id: str) -> None:
        self._api = api
        self._session_id = session_id
        self._pauses = api.event_pauses.get(session_id, 0)

    def read(self, until: float) -> EventSummary | None:
        self._api.calls.append(f"events {self._session_id}")
        self._api.on_extra(self._session_id, until)
        answer = self._api.events_of.get(self._session_id, EventSummary(counts={}, size_bytes={}))
        if isinstance(answer, Vb365Error):
            raise answer
        self._pauses -= 1
        return None if self._pauses >= 0 else answer


class Counts:
    """Records what an observer counts."""

    def __init__(self) -> None:
        self.polls: list[Reason | None] = []
        self.unpublished = 0
        self.overruns = 0
        self.rejections: list[str] = []
        self.unknown_fields: list[str] = []
        self.failed_extras: list[tuple[str, Reason]] = []

    def polled(self, reason: Reason | None) -> None:
        self.polls.append(reason)

    def poll_unpublished(self) -> None:
        self.unpublished += 1

    def overran(self) -> None:
        self.overruns += 1

    def rejected(self, reason: str, count: int = 1) -> None:
        self.rejections += [reason] * count

    def unknown_value(self, field: str) -> None:
        self.unknown_fields.append(field)

    def extra_failed(self, extra: str, reason: Reason) -> None:
        self.failed_extras.append((extra, reason))


class PollerHarness:
    """A poller with fake collaborators; it continues with the state and the clock of `replaces`, as after a reload."""

    def __init__(
        self,
        *sessions: RestoreSession,
        follow: SessionsConfig | None = None,
        max_concurrent_requests: int = 8,
        replaces: PollerHarness | None = None,
    ) -> None:
        follow = follow or sessions_config()
        self.server = ServerConfig(
            name="hq",
            url="https://vb365.example.com:4443",
            auth=AuthConfig(token=SecretSource(value="t")),
            sessions=follow,
            max_concurrent_requests=max_concurrent_requests,
        )
        self.api = FakeApi(*sessions)
        self.clock: StandingClock = replaces.clock if replaces else StandingClock()
        self.counts = Counts()
        self.published: list[Snapshot] = []
        self.recorded: list[RestoreSession] = []
        self.marked_down: list[str] = []
        self.publish_errors: list[BaseException] = []
        """Raised one by one instead of publishing."""
        self.record_errors: list[Exception] = []
        """Raised one by one instead of recording the sessions that started or finished."""
        self.stop = threading.Event()
        self.state: ServerState = replaces.state if replaces else ServerState(self.server)
        self.ledger = self.state.ledger
        if replaces:
            self.state.continue_with(self.server)
        self.poller = Poller(
            self.server,
            api=self.api,
            state=self.state,
            clock=self.clock,
            observer=self.counts,
            publish=self._publish,
            mark_down=self.marked_down.append,
            on_changed=self._record,
            stop=self.stop,
        )
        self.loop = self.loop_with(ChangeQueue())

    def loop_with(
        self, queue: ChangeQueue, first_interval_seconds: float | None = None
    ) -> PollLoop:
        """Return a loop that takes change-feed events from this queue, and does not pause after an exception."""
        return PollLoop(
            self.server,
            poller=self.poller,
            ledger=self.ledger,
            queue=queue,
            clock=self.clock,
            stop=self.stop,
            first_interval_seconds=first_interval_seconds,
            recovery_seconds=0.0,
        )

    def _publish(self, snapshot: Snapshot) -> None:
        if self.publish_errors:
            raise self.publish_errors.pop(0)
        self.published.append(snapshot)

    def _record(self, sessions: tuple[RestoreSession, ...]) -> None:
        if self.record_errors:
            raise self.record_errors.pop(0)
        self.recorded.extend(sessions)

    def poll(self, **api: Any) -> Snapshot:
        """Make one poll a minute after the last, of an API changed like this."""
        for name, value in api.items():
            setattr(self.api, name, value)
        self.api.calls.clear()
        self.clock.seconds += 60
        self.loop.poll()
        return self.published[-1]

    def apply_changes(self, *changes: SessionChange) -> Snapshot:
        """Apply change-feed events, a second after the last poll."""
        self.api.calls.clear()
        self.clock.seconds += 1
        self.loop.apply(PendingChanges(changes=changes))
        return self.published[-1]


def server_error(operation: str = "list") -> ServerError:
    """Return the error of a failing server."""
    return ServerError("answered 503", operation=operation)
