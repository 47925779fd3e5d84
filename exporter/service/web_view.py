"""The web server's view of a service: metrics, health, readiness, configuration and the status page."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge, nlargest
from itertools import islice
from weakref import WeakKeyDictionary

from exporter import __version__
from exporter.config import Config, ServerConfig, masked_yaml
from exporter.metrics.exposition import Exposition
from exporter.metrics.text_format import Format
from exporter.polling.blocks import Block
from exporter.polling.snapshot import Snapshot
from exporter.service.service import Service
from exporter.text import label_value
from exporter.vb365.records.restore_session import RestoreSession, SessionResult
from exporter.web.status import (
    LONG_RUNNING_SECONDS,
    RECENT_SECONDS,
    FailedRestore,
    ServerCard,
    SessionRow,
    StatusPage,
)

__all__ = ["Overview", "RecentlyFinished", "ServiceBackend"]

# Enough for the timeline; the tables show fewer.
_MAX_RUNNING = 60
_MAX_FINISHED = 160


class ServiceBackend:
    """The web server's backend; never waits for VB365."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._overview = Overview()
        self._config_text: tuple[Config | None, str] = (None, "")

    def exposition(self, wanted: Format) -> Exposition:
        """Return the current body of `/metrics`."""
        return self._service.publisher.exposition(wanted)

    def health_problems(self) -> list[str]:
        """Return a line for each poll loop that is stuck or has ended, and for an audit log whose thread has ended."""
        return list(self._service.problems())

    def readiness_problems(self) -> list[str]:
        """Return a line for each server that has not been polled yet."""
        return [f"{name}: not polled yet" for name in self._service.unpolled_servers()]

    def config_text(self) -> str:
        """Return the active configuration as YAML, secrets masked.

        Rendering a thousand servers takes most of a second, so the text is kept as long as the configuration.
        """
        config = self._service.config
        rendered, text = self._config_text
        if rendered is not config:
            text = masked_yaml(config)
            self._config_text = (config, text)
        return text

    def status(self) -> StatusPage:
        """Return the status page's data, without stale sessions."""
        return self._overview.page(
            self._service.config,
            self._service.publisher.snapshots(),
            monotonic=self._service.clock.monotonic(),
            timestamp=self._service.clock.timestamp(),
        )


class RecentlyFinished:
    """Finds the sessions that ended last in blocks, which are sorted by creation time.

    Blocks are immutable, so the result for each block is cached while the block exists. Not thread-safe.

    Args:
        limit: the maximum number of sessions returned.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: WeakKeyDictionary[Block, list[RestoreSession]] = WeakKeyDictionary()

    def of(self, blocks: Iterable[Block]) -> Iterator[RestoreSession]:
        """Iterate over the sessions that ended last, newest end first."""
        found = [self._of_block(block) for block in blocks]
        return islice(merge(*found, key=_ended_at, reverse=True), self._limit)

    def _of_block(self, block: Block) -> list[RestoreSession]:
        found = self._found.get(block)
        if found is None:
            found = self._found[block] = nlargest(self._limit, block.sessions, key=_ended_at)
        return found


class Overview:
    """Summarizes snapshots for the status page; searches each block of finished sessions once. Not thread-safe."""

    def __init__(self) -> None:
        self._recently_finished = RecentlyFinished(_MAX_FINISHED)

    def page(
        self,
        config: Config,
        published: Iterable[Snapshot],
        *,
        monotonic: float,
        timestamp: float,
    ) -> StatusPage:
        """Return the status page's data.

        Args:
            config: determines the servers shown and the personal data allowed (`info_labels`).
            published: the current snapshots, without stale sessions.
            monotonic: the current time of the clock that ages of data are measured with.
            timestamp: the current time, in Unix seconds.
        """
        now = datetime.fromtimestamp(timestamp, UTC)
        by_name = {snapshot.server: snapshot for snapshot in published}
        snapshots = [
            by_name.get(server.name, Snapshot(server=server.name)) for server in config.servers
        ]
        return StatusPage(
            version=__version__,
            generated=now,
            servers=tuple(
                _server(server, snapshot, monotonic=monotonic, now=now)
                for server, snapshot in zip(config.servers, snapshots, strict=True)
            ),
            running=_rows(_longest_running(snapshots), now, config.info_labels),
            running_total=sum(len(snapshot.running) for snapshot in snapshots),
            long_running_total=sum(_long_running(snapshot, now) for snapshot in snapshots),
            finished=_rows(self._last_finished(snapshots), now, config.info_labels),
            finished_totals=_finished_totals(snapshots),
            recent_failures=_recent_failures(snapshots, now),
            info_labels=config.info_labels,
        )

    def _last_finished(self, snapshots: Iterable[Snapshot]) -> Iterator[tuple[str, RestoreSession]]:
        of_servers = (
            [
                (snapshot.server, session)
                for session in self._recently_finished.of(snapshot.finished)
            ]
            for snapshot in snapshots
        )
        last_first = merge(*of_servers, key=lambda pair: _ended_at(pair[1]), reverse=True)
        return islice(last_first, _MAX_FINISHED)


def _longest_running(snapshots: Iterable[Snapshot]) -> Iterator[tuple[str, RestoreSession]]:
    of_servers = (
        [(one.server, running.session) for running in one.running[: -_MAX_RUNNING - 1 : -1]]
        for one in snapshots
    )
    oldest_first = merge(*of_servers, key=lambda pair: pair[1].creation_time)
    return islice(oldest_first, _MAX_RUNNING)


def _long_running(snapshot: Snapshot, now: datetime) -> int:
    """Count the long-running sessions, which are the last ones: running sessions are sorted newest first."""
    age = timedelta(seconds=LONG_RUNNING_SECONDS)
    first = bisect_left(snapshot.running, age, key=lambda one: now - one.session.creation_time)
    return len(snapshot.running) - first


def _finished_totals(snapshots: Iterable[Snapshot]) -> tuple[tuple[str, int], ...]:
    totals: Counter[SessionResult] = Counter()
    for snapshot in snapshots:
        for (_, _, result), count in snapshot.stopped.items():
            totals[result] += count
    return tuple((result.value, totals[result]) for result in SessionResult if totals[result])


def _recent_failures(snapshots: Iterable[Snapshot], now: datetime) -> tuple[FailedRestore, ...]:
    since = now - timedelta(seconds=RECENT_SECONDS)
    newest: dict[tuple[str, str], datetime] = {}
    for snapshot in snapshots:
        for (organization, _, result), ended in snapshot.last_end.items():
            if result is SessionResult.FAILED and ended > since:
                key = (snapshot.server, label_value(organization))
                newest[key] = max(ended, newest.get(key, since))
    return tuple(
        FailedRestore(server=server, organization=organization, ended=ended)
        for (server, organization), ended in sorted(
            newest.items(), key=lambda item: item[1], reverse=True
        )
    )


def _server(
    server: ServerConfig, snapshot: Snapshot, *, monotonic: float, now: datetime
) -> ServerCard:
    status = snapshot.status
    confirmed = [running.confirmed_at for running in snapshot.running]
    if snapshot.finished:
        confirmed.append(snapshot.finished_confirmed_at)
    if snapshot.listed:
        confirmed.append(snapshot.list_confirmed_at)
    since = status.up_since if status.up else status.failing_since
    return ServerCard(
        name=snapshot.server,
        up=status.up,
        since=None if since is None else now - timedelta(seconds=monotonic - since),
        reason=status.failure_reason,
        detail=status.failure_message,
        version=status.version,
        api_version=status.api_version,
        tls_verified=not server.tls_config.insecure_skip_verify,
        certificate_not_after=status.certificate_not_after,
        last_poll=_moment(status.last_poll_timestamp),
        last_success=_moment(status.last_success_timestamp),
        data_age_seconds=monotonic - min(confirmed) if confirmed else None,
        poll_interval_seconds=server.poll_interval,
        stale_after_seconds=server.stale_after,
        sessions_known=snapshot.sessions_known,
        sessions_stale=_stale(snapshot),
        sessions_without_series=snapshot.sessions_without_series,
        sessions_not_kept=snapshot.sessions_not_kept,
    )


def _stale(snapshot: Snapshot) -> int:
    """Count the sessions that are hidden because their data is stale."""
    shown = len(snapshot.running_with_series) + sum(len(one.sessions) for one in snapshot.finished)
    return snapshot.sessions_known - snapshot.sessions_without_series - shown


def _rows(
    sessions: Iterable[tuple[str, RestoreSession]], now: datetime, info_labels: Sequence[str]
) -> tuple[SessionRow, ...]:
    return tuple(
        SessionRow(
            server=server,
            session_id=session.id,
            organization=label_value(session.organization),
            type=session.type.value,
            state=session.state.value,
            result=session.result.value if session.result else None,
            started=session.creation_time,
            ended=session.ended_at,
            duration_seconds=session.elapsed_seconds(now),
            info=tuple(label_value(getattr(session, label)) for label in info_labels),
        )
        for server, session in sessions
    )


def _ended_at(session: RestoreSession) -> datetime:
    """Return the end time or, if it is unknown, its lower bound: the creation time."""
    return session.end_time or session.creation_time


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
