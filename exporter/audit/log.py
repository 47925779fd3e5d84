"""The audit log as pollers see it: they hand over sessions, a thread of its own writes what is new of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import structlog

from exporter.audit.disk import Disk
from exporter.audit.file import AuditFile, Limits
from exporter.audit.record import Event, Told, clean, line
from exporter.audit.stream import StandardOutput
from exporter.audit.written import Written
from exporter.system.files import OutputError
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["AuditLog"]

log = structlog.get_logger()

_RETRY_SECONDS = 10.0
_SESSIONS_AT_A_TIME = 500
_BYTES_AT_A_TIME = 2**20


class _Sink(Protocol):
    """Where lines go."""

    name: str

    def open(self) -> None: ...

    def told(self) -> Iterator[Told]: ...

    def append(self, lines: bytes, *, sync: bool) -> None: ...

    def close(self) -> None: ...


class AuditLog:
    """One line for each start and each end of a restore session.

    In a file each stands exactly once, across restarts and crashes: what was written is read from the file and from those
    it was before. What cannot be written waits, each session once, until it can. On standard output each stands at
    least once: a restart tells again what runs or ended within `lookback`.

    Args:
        target: the file; None for standard output.
        failed: called for each try to write that failed, in the log's thread.
        timestamp: the wall clock, Unix seconds.
        lookback_seconds: how long after its end a session may be told of again at most.
        limits: when a file is rotated, and what is kept then.
        disk: the system's calls.
        retry_seconds: the pause after a try that failed.
    """

    def __init__(
        self,
        target: Path | None,
        *,
        failed: Callable[[], None],
        timestamp: Callable[[], float],
        lookback_seconds: Callable[[], float] = lambda: 0.0,
        limits: Limits | None = None,
        disk: Disk | None = None,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._failed = failed
        self._timestamp = timestamp
        self._retry_seconds = retry_seconds
        self._sink: _Sink = StandardOutput()
        if target is not None:
            self._sink = AuditFile(
                target,
                timestamp=timestamp,
                dropped=self._forget,
                limits=limits or _limits(lookback_seconds),
                disk=disk,
            )
        self._thread = threading.Thread(target=self._run, name="audit-log", daemon=True)
        self._news = threading.Condition()  # guards the next two
        self._inbox: list[tuple[str, tuple[RestoreSession, ...]]] = []
        self._closing = False
        # The rest is the thread's own.
        self._pending: dict[str, dict[str, tuple[RestoreSession, ...]]] = {}
        self._written = Written()
        self._read = False
        self._failing_since: float | None = None

    def start(self) -> None:
        """Open the log and start its thread.

        Raises:
            OutputError: it cannot be opened, for a reason that does not go by itself.
        """
        self._sink.open()
        self._thread.start()

    def record(self, server: str, sessions: Iterable[RestoreSession]) -> None:
        """Take note of sessions as they are known now; what was written of them before is not written again.

        Returns at once whatever the disk does, and never raises. For any thread.

        Args:
            server: the server's name in the configuration.
            sessions: those that have started or ended; others do no harm.
        """
        told = tuple(sessions)
        if told:
            with self._news:
                self._inbox.append((clean(server), told))
                self._news.notify()

    def close(self, seconds: float) -> None:
        """Write what is pending, unless the disk fails or that takes longer than so many seconds, and close.

        What is left comes again after the next start, if it still runs or ended within `lookback` then.
        """
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                log.warning("audit log cannot be closed in time", target=self._sink.name)

    def _run(self) -> None:
        while True:
            closing = self._wait()
            if closing and not self._pending:
                break
            try:
                if not self._read:
                    self._read_written()
                self._write(self._batch())
            except (OSError, OutputError) as error:
                self._fail(error.strerror if isinstance(error, OSError) else str(error))
            except Exception as error:  # noqa: BLE001 - a defect must not end the log for ever, nor quote a session
                self._fail(f"internal: {type(error).__name__}")
            else:
                self._succeed()
            if closing and self._failing_since is not None:
                break
        self._sink.close()
        left = sum(map(len, self._pending.values()))
        if left:
            log.warning("sessions not in the audit log yet", target=self._sink.name, sessions=left)

    def _wait(self) -> bool:
        """Wait for something to do, after a failure a while, and take in what is news; returns whether to close."""
        with self._news:
            if self._failing_since is not None:
                self._news.wait_for(lambda: self._closing, self._retry_seconds)
            else:
                self._news.wait_for(self._has_work)
            inbox, self._inbox = self._inbox, []
            closing = self._closing
        for server, sessions in inbox:
            self._take_in(server, sessions)
        return closing

    def _has_work(self) -> bool:
        return bool(self._closing or not self._read or self._inbox or self._pending)

    def _take_in(self, server: str, sessions: tuple[RestoreSession, ...]) -> None:
        pending = self._pending.get(server, {})
        for session in sessions:
            if not self._written.missing(server, session):
                continue
            told = pending.get(session.id)
            if told is None:
                pending[session.id] = (session,)
            elif session.stopped and not told[-1].stopped:
                pending[session.id] = (*told, session)
        if pending:
            self._pending[server] = pending

    def _read_written(self) -> None:
        """Learn what was written by those who wrote before; what is pending meanwhile may be among it."""
        self._written = Written(self._sink.told())
        self._read = True
        if len(self._written):
            log.info("audit log read", target=self._sink.name, sessions=len(self._written))

    def _batch(self) -> list[tuple[str, tuple[RestoreSession, ...]]]:
        """Some of what is pending, with the servers' names."""
        pending = (
            (server, told)
            for server, sessions in self._pending.items()
            for told in sessions.values()
        )
        return list(islice(pending, _SESSIONS_AT_A_TIME))

    def _write(self, batch: list[tuple[str, tuple[RestoreSession, ...]]]) -> None:
        """Write what is missing of these sessions, or of the first of them when that is much."""
        now = self._timestamp()
        size_bytes = done = 0
        lines: list[bytes] = []
        written: list[Told] = []
        for server, told in batch:
            for event in self._written.missing(server, told[-1]):
                # A start as it was told of first, an end as it was told of last.
                session = told[0] if event is Event.STARTED else told[-1]
                lines.append(line(event, server, session, now))
                size_bytes += len(lines[-1])
                written.append(Told(event=event, server=server, session_id=session.id))
            done += 1
            if size_bytes >= _BYTES_AT_A_TIME:
                break
        if lines:
            ends = any(one.event is Event.ENDED for one in written)
            self._sink.append(b"".join(lines), sync=ends)
        for one in written:
            self._written.add(one)
        for server, told in batch[:done]:
            del self._pending[server][told[0].id]
            if not self._pending[server]:
                del self._pending[server]

    def _forget(self, told: Iterator[Told]) -> None:
        """A rotated file is about to be deleted."""
        for one in told:
            self._written.forget(one)

    def _fail(self, why: str | None) -> None:
        """Count a failure, and tell of it when it is the first."""
        self._failed()
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            log.error(
                "audit log cannot be written, what is to be written waits",
                target=self._sink.name,
                error=why,
            )

    def _succeed(self) -> None:
        if self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            self._failing_since = None
            log.info(
                "audit log is written again",
                target=self._sink.name,
                failed_for_seconds=round(seconds, 1),
            )


def _limits(lookback_seconds: Callable[[], float]) -> Limits:
    least = Limits().kept_seconds
    return Limits(kept_seconds=lambda: max(least(), lookback_seconds() + 86400))
