"""The audit log as seen by the pollers: they submit sessions, and a thread writes the events not logged yet."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice

import structlog

from exporter.audit.file import AuditFile
from exporter.audit.record import Event, EventIndex, LoggedEvent, format_line
from exporter.audit.stream import PartialAppendError, StandardOutput
from exporter.system.files import OutputError
from exporter.text import replace_surrogates
from exporter.vb365.records.restore_session import RestoreSession

log = structlog.get_logger()

_MAX_BATCH_SESSIONS = 500
_MAX_BATCH_BYTES = 2**20
_MAX_KEPT_SESSIONS = 100_000
"""How many sessions are kept for a retry. Events of more sessions are dropped."""


class AuditLog:
    """Writes one line for each start and each end of a restore session.

    In a file each event is written exactly once, across restarts, crashes and rotation: first the events in the file and
    its predecessors are read. Sessions whose events cannot be written are kept in memory and retried. On standard output
    each event is written at least once: a restart repeats those of sessions that still run or ended within `lookback`.

    Args:
        sink: receives the lines.
        on_failure: called for each failed attempt to write or read, by the log's thread or that of `check_progress`.
        timestamp: the wall clock, in Unix seconds.
        retry_seconds: the pause after a failed attempt.
        stall_seconds: if a call of the sink takes this long, it is reported as a failed attempt, and again after each
            further period of this length.
        monotonic: the clock of failures, in seconds.
    """

    def __init__(
        self,
        sink: AuditFile | StandardOutput,
        *,
        on_failure: Callable[[], None],
        timestamp: Callable[[], float],
        retry_seconds: float = 10.0,
        stall_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._on_failure = on_failure
        self._timestamp = timestamp
        self._retry_seconds = retry_seconds
        self._stall_seconds = stall_seconds
        self._monotonic = monotonic
        self._thread = threading.Thread(target=self._run, name="audit-log", daemon=True)
        self._changed = threading.Condition()  # guards the next four
        self._received: list[tuple[str, tuple[RestoreSession, ...]]] = []
        self._received_sessions = 0
        self._is_full = False
        self._closing = False
        self._stall_reported_at = -math.inf  # only `check_progress` sets it
        # Only the thread sets the rest. A pending session is kept as first seen and as last seen.
        self._pending: dict[tuple[str, str], tuple[RestoreSession, RestoreSession]] = {}
        self._index: EventIndex | None = None
        self._failing_since: float | None = None
        self._waiting_since: float | None = None  # for the sink

    def start(self) -> None:
        """Open the log and start its thread.

        Raises:
            OutputError: the log cannot be opened and a retry would not help.
        """
        self._sink.open()
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def record(self, server: str, sessions: Iterable[RestoreSession]) -> None:
        """Log the events of sessions, given in their newest states, that are not logged yet.

        Never waits for the disk and never raises. Thread-safe.
        """
        received = tuple(sessions)
        if not received:
            return
        with self._changed:
            was_full, self._is_full = self._is_full, self._has_too_many()
            if not self._is_full:
                self._received.append((replace_surrogates(server), received))
                self._received_sessions += len(received)
                self._changed.notify()
        if self._is_full and not was_full:
            log.error("audit log keeps too many events, dropping new ones", target=self._sink.name)

    def _has_too_many(self) -> bool:
        fails = self._failing_since is not None or self._is_stalled()
        return fails and len(self._pending) + self._received_sessions >= _MAX_KEPT_SESSIONS

    def check_progress(self) -> None:
        """Report a sink that does not answer: a stalled reader or disk. Call it about once a second."""
        since, now = self._waiting_since, self._monotonic()
        if since is None or now - max(since, self._stall_reported_at) < self._stall_seconds:
            return
        is_first = not self._is_stalled()
        self._stall_reported_at = now
        self._on_failure()
        if is_first:
            log.error(
                "audit log does not answer, keeping events until it does",
                target=self._sink.name,
            )

    def _is_stalled(self) -> bool:
        """Whether the call of the sink under way was reported as stalled."""
        since = self._waiting_since
        return since is not None and self._stall_reported_at > since

    def close(self, seconds: float) -> None:
        """Write the pending events and close the log; give up when a write fails or after `seconds`.

        Remaining events are written after the next start if by then their session still runs or ended within `lookback`.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                log.warning("audit log not closed in time", target=self._sink.name)

    def _run(self) -> None:
        while not self._work():
            pass
        self._sink.close()
        if self._pending:
            log.warning(
                "audit log closed, events of some sessions not written",
                target=self._sink.name,
                sessions=len(self._pending),
            )

    def _work(self) -> bool:
        """Wait for work, and do some of it; return whether to close the log. No failure ends the thread."""
        closing = self._wait()
        try:
            self._accept_received()
            if closing and not self._pending:
                return True
            self._use_sink()
            self._recover()
        except Exception as error:  # noqa: BLE001 - `_fail` logs it
            with suppress(Exception):  # most likely out of memory
                self._fail(error)
        return closing and self._failing_since is not None

    def _wait(self) -> bool:
        """Wait for work or, after a failure, for the retry; return whether to close."""
        with self._changed:
            if self._failing_since is not None:
                self._changed.wait_for(lambda: self._closing, self._retry_seconds)
            elif self._index is not None and not self._pending:
                self._changed.wait_for(lambda: self._closing or self._received)
            return self._closing

    def _accept_received(self) -> None:
        """Accept the received sessions; those that could not be accepted stay."""
        while self._received:  # only this thread removes them
            server, sessions = self._received[0]
            for session in sessions:
                if self._index is None or self._index.unlogged(server, session):
                    key = (server, session.id)
                    first, last = self._pending.get(key, (session, session))
                    newer = session.stopped and not last.stopped
                    self._pending[key] = (first, session if newer else last)
            with self._changed:
                del self._received[0]
                self._received_sessions -= len(sessions)

    def _use_sink(self) -> None:
        """Write the unlogged events of some pending sessions; `check_progress` reports it if this hangs."""
        self._waiting_since = self._monotonic()
        try:
            self._write_batch(self._read_index())
        finally:
            self._note_answer()
            self._waiting_since = None

    def _note_answer(self) -> None:
        """Note that the sink has answered; a late answer is a failure that lasts until the events are written."""
        if self._is_stalled():
            self._failing_since = self._failing_since or self._waiting_since
        self._waiting_since = self._monotonic()

    def _read_index(self) -> EventIndex:
        """Return the index of logged events, read from the sink at the first call that succeeds."""
        if self._index is None:
            self._index = EventIndex(self._read_events())
            if len(self._index):
                log.info("audit log read", target=self._sink.name, sessions=len(self._index))
        return self._index

    def _read_events(self) -> Iterator[LoggedEvent]:
        for event in self._sink.read_events():
            self._note_answer()
            yield event

    def _write_batch(self, index: EventIndex) -> None:
        """Write the unlogged events of some pending sessions."""
        now = self._timestamp()
        lines = bytearray()
        events: list[LoggedEvent] = []
        batch: list[tuple[str, str]] = []
        for key, (first, last) in islice(self._pending.items(), _MAX_BATCH_SESSIONS):
            server, session_id = key
            for event in index.unlogged(server, last):
                session = first if event is Event.STARTED else last
                lines += format_line(event, server, session, now)
                events.append(LoggedEvent(event, server, session_id))
            batch.append(key)
            if len(lines) >= _MAX_BATCH_BYTES:
                break
        ends = any(logged.event is Event.ENDED for logged in events)
        try:
            if lines:
                self._sink.append(bytes(lines), sync=ends)
        except PartialAppendError as error:
            del events[error.written_lines :]
            self._accept_written(index, events, batch)
            raise
        self._accept_written(index, events, batch)

    def _accept_written(
        self, index: EventIndex, events: Iterable[LoggedEvent], batch: Iterable[tuple[str, str]]
    ) -> None:
        """Add written events to the index, and drop those pending sessions of a batch that have no others."""
        for logged in events:
            index.add(logged)
        for key in batch:
            server, _ = key
            if not index.unlogged(server, self._pending[key][1]):
                del self._pending[key]

    def _fail(self, error: Exception) -> None:
        """Report a failure; log only the first of a series."""
        is_first = self._failing_since is None
        self._failing_since = self._failing_since or self._monotonic()
        self._on_failure()
        if is_first:
            log.error(
                "cannot write audit log, keeping events for a retry",
                target=self._sink.name,
                error=_reason(error),
            )

    def _recover(self) -> None:
        """Log the end of a series of failures."""
        if self._failing_since is not None:
            seconds = self._monotonic() - self._failing_since
            self._failing_since = None
            log.info(
                "audit log writable again",
                target=self._sink.name,
                failed_for_seconds=round(seconds, 1),
            )


def _reason(error: Exception) -> str | None:
    """Return the cause of a failure; of a defect only its kind, as its message may contain personal data."""
    if isinstance(error, OSError):
        return error.strerror
    if isinstance(error, OutputError):
        return str(error)
    return f"internal: {type(error).__name__}"
