"""What the web pages show of a service."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain, islice

from exporter import __version__
from exporter.config import masked_yaml
from exporter.metrics.exposition import Exposition
from exporter.metrics.formats import Format
from exporter.metrics.labels import label_value
from exporter.polling.snapshot import Snapshot
from exporter.service import Service
from exporter.vb365.model import RestoreSession
from exporter.web.app import Health
from exporter.web.status import ServerStatus, SessionRow, StatusPage

__all__ = ["ServiceSite"]

_SHOWN_RUNNING = 50
_SHOWN_FINISHED = 20


class ServiceSite:
    """The pages' view of a service; every call returns at once."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def exposition(self, wanted: Format) -> Exposition:
        """The newest body of `/metrics`."""
        return self._service.publisher.exposition(wanted)

    def healthy(self) -> Health:
        """Whether every poller is alive."""
        stuck = self._service.unhealthy()
        return Health(
            ok=not stuck, reasons=tuple(f"{name}: its poller does not move" for name in stuck)
        )

    def ready(self) -> Health:
        """Whether every server has been polled once."""
        waiting = self._service.waiting()
        return Health(ok=not waiting, reasons=tuple(f"{name}: not polled yet" for name in waiting))

    def config_text(self) -> str:
        """The configuration in force as YAML, secrets masked."""
        return masked_yaml(self._service.config)

    def status(self) -> StatusPage:
        """The status page's data; only what may still be said."""
        now = self._service.clock.monotonic()
        timestamp = self._service.clock.timestamp()
        snapshots = {snapshot.server: snapshot for snapshot in self._service.publisher.snapshots()}
        return StatusPage(
            version=__version__,
            generated=datetime.fromtimestamp(timestamp, UTC),
            servers=tuple(
                _server(
                    snapshots.get(server.name, Snapshot(server=server.name)),
                    server.poll_interval,
                    now=now,
                    timestamp=timestamp,
                )
                for server in self._service.config.servers
            ),
        )


def _server(
    snapshot: Snapshot, poll_interval_seconds: float, *, now: float, timestamp: float
) -> ServerStatus:
    status = snapshot.status
    longest_first = snapshot.running[::-1]
    newest_first = chain.from_iterable(block.sessions for block in snapshot.finished)
    confirmed = [running.confirmed_at for running in snapshot.running]
    if snapshot.finished:
        confirmed.append(snapshot.finished_at)
    today = datetime.fromtimestamp(timestamp, UTC)
    return ServerStatus(
        name=snapshot.server,
        up=status.up,
        reason=status.failure_message,
        version=status.version,
        api_version=status.api_version,
        tls_verified=status.tls_verified,
        last_poll_age_seconds=_age(status.last_poll_timestamp, timestamp),
        last_success_age_seconds=_age(status.last_success_timestamp, timestamp),
        data_age_seconds=now - min(confirmed) if confirmed else None,
        poll_interval_seconds=poll_interval_seconds,
        sessions_known=snapshot.sessions_known,
        running=tuple(_row(one.session, today) for one in longest_first[:_SHOWN_RUNNING]),
        running_not_shown=max(0, len(longest_first) - _SHOWN_RUNNING),
        finished=tuple(_row(session, today) for session in islice(newest_first, _SHOWN_FINISHED)),
    )


def _row(session: RestoreSession, today: datetime) -> SessionRow:
    return SessionRow(
        session_id=session.id,
        organization=label_value(session.organization),
        type=session.type.value,
        state=session.state.value,
        result=session.result.value if session.result else None,
        started=session.creation_time,
        ended=session.end_time if session.stopped else None,
        duration_seconds=session.duration_seconds
        if session.stopped
        else (today - session.creation_time).total_seconds(),
    )


def _age(since: float | None, timestamp: float) -> float | None:
    return None if since is None else max(0.0, timestamp - since)
