"""Turns snapshots into the data of the status page, at a bounded cost for any number of sessions and organizations."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import nlargest, nsmallest
from itertools import chain, islice

from exporter import __version__
from exporter.config import Config, ServerConfig
from exporter.polling.clock import Moment
from exporter.polling.snapshot import Snapshot
from exporter.service.recently_finished import RecentlyFinished, ended_at, ended_since
from exporter.text import label_value
from exporter.vb365.records.restore_session import RestoreSession, SessionResult
from exporter.web.status.page import (
    MissingSession,
    Organization,
    ServerCard,
    SessionRow,
    StatusPage,
)
from exporter.web.status.thresholds import (
    LEFT_IDLE_SECONDS,
    MANY_FAILED_SECONDS,
    RECENT_SECONDS,
    is_left_open,
)

_Session = tuple[str, RestoreSession]  # with the name of its server

# Enough for the timeline; the tables show fewer.
_MAX_RUNNING = 100
_MAX_FINISHED = 400
_MAX_FAILED = 100
_MAX_MISSING = 100
_MAX_ORGANIZATIONS = 2_000


class Overview:
    """Summarizes snapshots for the status page; searches each block of finished sessions once. Not thread-safe."""

    def __init__(self) -> None:
        self._finished = RecentlyFinished()

    def page(self, config: Config, published: Iterable[Snapshot], moment: Moment) -> StatusPage:
        """Return the status page's data.

        Args:
            config: determines the servers shown and the personal data allowed (`info_labels`).
            published: the current snapshots, without stale sessions.
            moment: the current time.
        """
        now = moment.wall
        by_name = {snapshot.server: snapshot for snapshot in published}
        snapshots = [
            by_name.get(server.name, Snapshot(server=server.name)) for server in config.servers
        ]
        since = now - timedelta(seconds=RECENT_SECONDS)
        rows = _Rows(snapshots, now, config.info_labels)
        recent = [self._finished.since(one.finished, since) for one in snapshots]
        failed = [(one, _failed(ended)) for one, ended in zip(snapshots, recent, strict=True)]
        organizations = [one for snapshot in snapshots for one in _organizations(snapshot)]
        return StatusPage(
            version=__version__,
            generated=now,
            servers=tuple(
                _server(*of_server, moment)
                for of_server in zip(config.servers, snapshots, recent, strict=True)
            ),
            running=rows.of(_longest_running(snapshots)),
            running_total=sum(len(snapshot.running) for snapshot in snapshots),
            left_open_total=sum(_left_open(snapshot, now) for snapshot in snapshots),
            failed=rows.of(_last(failed, _MAX_FAILED)),
            failed_total=sum(len(sessions) for _, sessions in failed),
            finished=rows.of(
                _last(
                    ((one, self._finished.last(one.finished, _MAX_FINISHED)) for one in snapshots),
                    _MAX_FINISHED,
                )
            ),
            finished_totals=_by_result(_stopped(snapshots)),
            recent_totals=_by_result(
                Counter(one.result or SessionResult.UNKNOWN for one in chain.from_iterable(recent))
            ),
            recent_partial=any(map(_is_partial, config.servers, snapshots)),
            missing=tuple(islice(_missing(snapshots), _MAX_MISSING)),
            organizations=tuple(nsmallest(_MAX_ORGANIZATIONS, organizations, key=_restored_first)),
            organizations_total=len(organizations),
            info_labels=config.info_labels,
        )


def _server(
    server: ServerConfig,
    snapshot: Snapshot,
    recent: Sequence[RestoreSession],
    moment: Moment,
) -> ServerCard:
    now, status = moment.wall, snapshot.status
    confirmed = [running.confirmed_at for running in snapshot.running]
    if snapshot.finished:
        confirmed.append(snapshot.finished_confirmed_at)
    if snapshot.listed:
        confirmed.append(snapshot.list_confirmed_at)
    since = status.up_since if status.up else status.failing_since
    last_hour = ended_since(recent, now - timedelta(seconds=MANY_FAILED_SECONDS))
    failed = _failed(last_hour)
    return ServerCard(
        name=snapshot.server,
        up=status.up,
        since=None if since is None else now - timedelta(seconds=moment.monotonic - since),
        failure_reason=status.failure_reason,
        failure_message=status.failure_message,
        version=status.version,
        api_version=status.api_version,
        tls_verified=not server.tls_config.insecure_skip_verify,
        certificate_not_after=status.certificate_not_after,
        last_poll=_moment(status.last_poll_timestamp),
        last_success=_moment(status.last_success_timestamp),
        data_age_seconds=moment.monotonic - min(confirmed) if confirmed else None,
        poll_interval_seconds=server.poll_interval,
        stale_after_seconds=server.stale_after,
        sessions_known=snapshot.sessions_known,
        sessions_stale=_stale(snapshot),
        sessions_without_series=snapshot.sessions_without_series,
        sessions_not_kept=snapshot.sessions_not_kept,
        ended_last_hour=len(last_hour),
        failed_last_hour=len(failed),
        organizations_failed_last_hour=len({session.organization for session in failed}),
    )


def _failed(sessions: Iterable[RestoreSession]) -> list[RestoreSession]:
    return [session for session in sessions if session.result is SessionResult.FAILED]


class _Rows:
    """Turns sessions into rows."""

    def __init__(
        self, snapshots: Iterable[Snapshot], now: datetime, info_labels: Sequence[str]
    ) -> None:
        self._now = now
        self._info_labels = info_labels
        self._configured = {
            (snapshot.server, one.session_id)
            for snapshot in snapshots
            for one in snapshot.configured_ids
        }

    def of(self, sessions: Iterable[_Session]) -> tuple[SessionRow, ...]:
        return tuple(self._row(server, session) for server, session in sessions)

    def _row(self, server: str, session: RestoreSession) -> SessionRow:
        seconds = session.elapsed_seconds(self._now)
        idle = None if session.stopped else _idle_seconds(session, self._now)
        return SessionRow(
            server=server,
            id=session.id,
            organization=label_value(session.organization),
            type=session.type.value,
            state=session.state.value,
            result=session.result.value if session.result else None,
            created=session.creation_time,
            ended=session.ended_at,
            duration_seconds=seconds,
            idle_seconds=idle,
            left_open=not session.stopped and is_left_open(seconds or 0.0, idle),
            configured=(server, session.id) in self._configured,
            items_processed=session.processed_items,
            items_failed=None if session.statistics is None else session.statistics.failed,
            info={label: label_value(getattr(session, label)) for label in self._info_labels},
        )


def _idle_seconds(session: RestoreSession, now: datetime) -> float | None:
    if session.events is None or session.events.last_event_at is None:
        return None
    return (now - session.events.last_event_at).total_seconds()


def _last(
    of_servers: Iterable[tuple[Snapshot, Sequence[RestoreSession]]], limit: int
) -> list[_Session]:
    """Return the sessions of all servers that ended last, newest end first."""
    sessions = ((one.server, session) for one, sessions in of_servers for session in sessions)
    return nlargest(limit, sessions, key=lambda pair: ended_at(pair[1]))


def _longest_running(snapshots: Iterable[Snapshot]) -> list[_Session]:
    oldest_first = ((one.server, run.session) for one in snapshots for run in reversed(one.running))
    return nsmallest(_MAX_RUNNING, oldest_first, key=lambda pair: pair[1].creation_time)


def _left_open(snapshot: Snapshot, now: datetime) -> int:
    """Count the sessions left open, among the oldest: running sessions are sorted newest first."""
    age = timedelta(seconds=LEFT_IDLE_SECONDS)
    first = bisect_left(snapshot.running, age, key=lambda one: now - one.session.creation_time)
    return sum(
        is_left_open(one.session.elapsed_seconds(now) or 0.0, _idle_seconds(one.session, now))
        for one in snapshot.running[first:]
    )


def _stopped(snapshots: Iterable[Snapshot]) -> Counter[SessionResult]:
    totals: Counter[SessionResult] = Counter()
    for snapshot in snapshots:
        for (_, _, result), count in snapshot.stopped.items():
            totals[result] += count
    return totals


def _by_result(totals: Counter[SessionResult]) -> dict[str, int]:
    return {result.value: totals[result] for result in SessionResult if totals[result]}


def _is_partial(server: ServerConfig, snapshot: Snapshot) -> bool:
    """Return whether sessions that ended within `RECENT_SECONDS` may be unknown."""
    return (
        not snapshot.listed
        or snapshot.sessions_not_kept > 0
        or server.sessions.lookback < RECENT_SECONDS
    )


def _missing(snapshots: Iterable[Snapshot]) -> Iterator[MissingSession]:
    for snapshot in snapshots:
        for one in snapshot.configured_ids:
            if not one.found:
                yield MissingSession(server=snapshot.server, id=one.session_id)


def _organizations(snapshot: Snapshot) -> Iterable[Organization]:
    """Return a server's organizations, if its last proven restores are known."""
    if not snapshot.listed:
        return ()
    restored: dict[str, datetime | None] = dict.fromkeys(
        map(label_value, snapshot.activity.organizations)
    )
    for (organization, _), ended in snapshot.last_restored.items():
        name = label_value(organization)
        restored[name] = max(ended, restored.get(name) or ended)
    return [
        Organization(server=snapshot.server, organization=name, last_restored=ended)
        for name, ended in restored.items()
        if name or ended
    ]


def _restored_first(one: Organization) -> tuple[float, str, str]:
    ended = one.last_restored
    return (0.0 if ended is None else ended.timestamp(), one.organization.casefold(), one.server)


def _stale(snapshot: Snapshot) -> int:
    """Count the sessions that are hidden because their data is stale."""
    shown = len(snapshot.running) + sum(len(one.sessions) for one in snapshot.finished)
    return snapshot.sessions_known - shown


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
