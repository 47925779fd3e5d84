from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.audit import AuditFile, AuditLog, StandardOutput
from exporter.audit.record import Event, LoggedEvent
from exporter.system.files import OutputError
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import RestoreSession
from support.audit_files import (
    LONG_SECONDS,
    FailingDisk,
    Failures,
    all_files,
    audit_log,
    events_of,
    lines_in,
    lines_of,
    noon,
    rotate,
    unexpected,
    write,
)
from support.fake_clocks import SystemClocks
from support.log_capture import CapturedLog
from support.sample_sessions import finished, running, session_id
from support.waiting import wait_until


def started(number: int, server: str = "hq") -> tuple[str, str, str]:
    return server, session_id(number), "started"


def ended(number: int, server: str = "hq") -> tuple[str, str, str]:
    return server, session_id(number), "ended"


def test_a_start_and_an_end_are_one_line_each_with_the_state_of_the_session_at_that_time(
    file: Path,
) -> None:
    audit = audit_log(file)
    audit.record("hq", [running(1, details="0 items processed")])
    audit.record("hq", iter([finished(1, statistics=Statistics(restored=2))]))
    audit.close(LONG_SECONDS)

    first, second = lines_of(file)
    assert (
        first["event"],
        first["state"],
        first["details"],
    ) == ("started", "Working", "0 items processed")
    assert (
        second["event"],
        second["state"],
        second["statistics"],
        second["durationSeconds"],
    ) == ("ended", "Stopped", {"restored": 2}, 30.0)
    assert first["time"] == second["time"] == "2026-03-01T12:00:00.000Z"


def test_a_session_first_seen_when_it_is_finished_has_a_start_and_an_end(file: Path) -> None:
    write(file, finished(1), running(2))

    assert events_of(file) == [started(1), ended(1), started(2)]


def test_no_failure_ends_the_log_or_loses_a_session(file: Path) -> None:
    errors = [MemoryError(), MemoryError()]

    class Failing(RestoreSession):
        """A session that cannot be read while memory lacks."""

        @property
        def stopped(self) -> bool:
            if errors:
                raise errors.pop()
            return super().stopped

    def on_failure() -> None:
        raise MemoryError

    audit = audit_log(file, on_failure=on_failure)
    audit.record("hq", [Failing(*finished(1))])
    audit.record("hq", [finished(2)])
    wait_until(lambda: len(file.read_bytes().splitlines()) == 4, "both sessions")
    assert audit.running
    audit.close(LONG_SECONDS)

    assert errors == []
    assert events_of(file) == [started(1), ended(1), started(2), ended(2)]
    assert not audit.running


def test_a_session_recorded_again_is_not_written_again(file: Path) -> None:
    audit = audit_log(file)
    for _ in range(3):
        audit.record("hq", [running(1), finished(2), running(2)])
        audit.record("branch", [running(1)])
    audit.close(LONG_SECONDS)

    assert sorted(events_of(file)) == sorted(
        [started(1), started(2), ended(2), started(1, "branch")]
    )


def test_a_restart_writes_only_new_events(file: Path) -> None:
    write(file, running(1), finished(2), running(3))
    write(file, running(1), finished(2), finished(3), running(4))
    write(file, finished(1), finished(2), finished(3), running(4))

    assert events_of(file) == [
        *(started(1), started(2), ended(2), started(3)),
        *(ended(3), started(4), ended(1)),
    ]


def test_every_server_name_is_recognized_after_a_restart(file: Path) -> None:
    for _ in range(2):
        for server in ("München", 'a"b\\', "a\ud800b", "hq"):
            write(file, running(1), server=server)

    assert [server for server, _, _ in events_of(file)] == ["München", 'a"b\\', "a\ufffdb", "hq"]


def test_a_rotation_while_the_exporter_is_stopped_repeats_and_loses_nothing(file: Path) -> None:
    write(file, finished(1), running(2))
    rotate(file)
    write(file, finished(1), running(2), running(3))
    rotate(file)
    write(file, finished(1), finished(2), running(3))

    assert [events_of(one) for one in all_files(file)] == [
        [started(1), ended(1), started(2)],
        [started(3)],
        [ended(2)],
    ]


def test_the_rest_of_an_interrupted_write_is_written_after_a_crash_wherever_it_ended(
    file: Path,
) -> None:
    write(file, running(1), finished(2))
    write(file, finished(1), running(3))
    content = file.read_bytes()
    sessions = [finished(1), finished(2), running(3)]
    expected = sorted([started(1), ended(1), started(2), ended(2), started(3)])

    first_of_last = content.index(b'"event":"ended"')
    for length in range(first_of_last, len(content)):
        file.write_bytes(content[:length])
        write(file, *sessions)

        assert sorted(events_of(file)) == expected, length
        assert file.read_bytes().startswith(content[: content.rfind(b"\n", 0, length) + 1])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 6)),
        st.tuples(st.just("end"), st.integers(1, 6)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 400)),
        st.tuples(st.just("full"), st.integers(0, 900)),
        st.tuples(st.just("rotate"), st.just(0)),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_whatever_happens_each_event_is_written_once_and_starts_precede_ends(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    file = tmp_path_factory.mktemp("audit") / "audit.log"
    sessions: dict[int, RestoreSession] = {}
    disk, failures = FailingDisk(), Failures()
    audit = audit_log(file, disk=disk, on_failure=failures)
    for step, number in steps:
        if step in {"run", "end"}:
            session = running(number) if step == "run" else finished(number)
            if number in sessions and sessions[number].stopped:
                session = sessions[number]
            sessions[number] = session
            audit.record("hq", [session])
        elif step == "full":
            disk.free_bytes = number
        elif step == "rotate":
            with suppress(FileNotFoundError):  # rotated already, and not written since
                rotate(file)
        elif step in {"restart", "crash"}:
            audit.close(LONG_SECONDS)
            if step == "crash" and file.exists():
                content = file.read_bytes()
                file.write_bytes(content[: max(0, len(content) - number)])
            disk.free_bytes = None
            audit = audit_log(file, disk=disk, on_failure=failures)
            audit.record("hq", sessions.values())
    disk.free_bytes = None
    audit.record("hq", sessions.values())
    audit.close(LONG_SECONDS)

    events = events_of(*(one for one in all_files(file) if one.exists()))
    assert sorted(events) == sorted(
        [started(n) for n in sessions] + [ended(n) for n, one in sessions.items() if one.stopped]
    )
    for number, session in sessions.items():
        if session.stopped:
            assert events.index(started(number)) < events.index(ended(number))


def test_a_full_disk_is_counted_logged_once_and_nothing_is_lost(
    file: Path, log: CapturedLog
) -> None:
    disk, failures = FailingDisk(), Failures()
    audit = audit_log(file, disk=disk, on_failure=failures)
    disk.free_bytes = 1000
    audit.record("hq", [finished(number) for number in range(1, 10)])
    failures.wait(3)
    audit.record("hq", [running(10)])
    failures.wait(3)
    audit.record("hq", [finished(10)])
    disk.free_bytes = None
    audit.close(LONG_SECONDS)

    assert events_of(file) == [event(n) for n in range(1, 11) for event in (started, ended)]
    assert lines_of(file)[-2]["state"] == "Working"
    assert [(one["level"], one["msg"]) for one in log.entries()] == [
        ("ERROR", "cannot write audit log, keeping events for a retry"),
        ("INFO", "audit log writable again"),
    ]
    assert log.entries()[0]["error"] == "No space left on device"
    for personal in ("contoso", "CONTOSO", "Exchange", "srv01"):
        assert personal not in log.stream.getvalue()


@pytest.mark.parametrize("call", ["write", "sync", "open", "read"])
def test_a_transient_error_of_any_call_loses_nothing(file: Path, call: str) -> None:
    write(file, running(1))
    disk, failures = FailingDisk(), Failures()
    disk.failing = {call: errno.EIO}
    audit = audit_log(file, disk=disk, on_failure=failures)
    audit.record("hq", [finished(1), finished(2)])
    failures.wait(2)
    disk.failing = {}
    audit.close(LONG_SECONDS)

    assert events_of(file) == [started(1), ended(1), started(2), ended(2)]


def test_a_directory_that_disappears_and_returns_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    failures = Failures()
    audit = audit_log(directory / "audit.log", on_failure=failures)
    directory.rename(tmp_path / "away")
    audit.record("hq", [finished(1)])
    failures.wait()
    (tmp_path / "away").rename(directory)
    audit.close(LONG_SECONDS)

    assert events_of(directory / "audit.log") == [started(1), ended(1)]


def test_a_defect_is_logged_without_personal_data_and_does_not_stop_the_log(
    file: Path, log: CapturedLog
) -> None:
    disk, failures = FailingDisk(), Failures()
    audit = audit_log(file, disk=disk, on_failure=failures)

    def fail() -> None:
        raise ValueError("jane.doe")

    disk.before_write = fail
    audit.record("hq", [running(1)])
    failures.wait(2)
    disk.before_write = lambda: None
    audit.close(LONG_SECONDS)

    assert events_of(file) == [started(1)]
    assert log.entries()[0]["error"] == "internal: ValueError"
    assert "jane" not in log.stream.getvalue()


def test_a_disk_that_hangs_delays_neither_recording_nor_closing(
    file: Path, log: CapturedLog
) -> None:
    disk, hanging, well = FailingDisk(), threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        assert well.wait(LONG_SECONDS)

    disk.before_write = hang
    audit = audit_log(file, disk=disk)
    audit.record("hq", [running(1)])
    assert hanging.wait(LONG_SECONDS)

    audit.record("hq", [finished(number) for number in range(1, 10)])
    audit.close(0.0)

    assert [one["msg"] for one in log.entries()] == ["audit log not closed in time"]
    well.set()
    audit.close(LONG_SECONDS)
    assert events_of(file) == [event(n) for n in range(1, 10) for event in (started, ended)]


def test_closing_while_the_disk_fails_logs_how_many_sessions_are_not_written(
    file: Path, log: CapturedLog
) -> None:
    disk, failures = FailingDisk(), Failures()
    disk.free_bytes = 0
    audit = audit_log(file, disk=disk, on_failure=failures, retry_seconds=LONG_SECONDS)
    audit.record("hq", [finished(1), running(2)])
    failures.wait()

    audit.close(LONG_SECONDS)

    assert failures.count == 2  # closing makes one more attempt
    assert (
        log.entries()[-1]["msg"],
        log.entries()[-1]["sessions"],
    ) == ("audit log closed, events of some sessions not written", 2)
    write(file, finished(1), running(2))
    assert events_of(file) == [started(1), ended(1), started(2)]


def test_without_events_the_file_stays_empty_and_later_events_are_ignored(file: Path) -> None:
    audit = audit_log(file)
    audit.record("hq", [])
    audit.close(LONG_SECONDS)
    audit.record("hq", [running(1)])

    assert file.read_bytes() == b""


def test_a_path_that_cannot_be_written_is_refused_at_startup(tmp_path: Path) -> None:
    target = AuditFile(tmp_path / "absent" / "audit.log")
    audit = AuditLog(target, on_failure=unexpected, timestamp=noon)

    with pytest.raises(OutputError, match=r"absent/audit\.log: No such file or directory"):
        audit.start()
    audit.close(0.0)


def test_many_ends_wait_for_the_disk_once_and_starts_do_not(file: Path) -> None:
    disk = FailingDisk()
    write(file, *(running(number) for number in range(1, 50)), disk=disk)
    assert "sync" not in disk.names

    write(file, *(finished(number) for number in range(1, 50)), disk=disk)
    assert disk.names.count("sync") == 1


def test_many_events_are_written_in_batches_and_none_is_lost(file: Path) -> None:
    disk, long = FailingDisk(), "\u20ac" * 2048
    write(
        file,
        *(finished(number, details=long, reason=long, name=long) for number in range(1, 61)),
        disk=disk,
    )

    assert events_of(file) == [event(n) for n in range(1, 61) for event in (started, ended)]
    assert 3 < disk.names.count("write") < 10


def test_on_standard_output_each_process_writes_each_event_once(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    for _ in range(2):
        audit = AuditLog(StandardOutput(), on_failure=unexpected, timestamp=noon)
        audit.start()
        audit.record("hq", [running(1), finished(2)])
        audit.record("hq", [running(1)._replace(details="1 items processed")])
        audit.close(LONG_SECONDS)

    assert capfdbinary.readouterr().out.count(b"\n") == 6


@pytest.mark.usefixtures("capfd")
def test_what_was_written_to_standard_output_before_a_failure_is_not_repeated() -> None:
    content = bytearray()
    rooms_bytes = [3000] * 5  # what each attempt can write

    def write(_descriptor: int, data: memoryview) -> int:
        part = bytes(data[: rooms_bytes[0]]) if rooms_bytes else bytes(data)
        if not part:
            del rooms_bytes[0]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if rooms_bytes:
            rooms_bytes[0] -= len(part)
        content.extend(part)
        return len(part)

    failures = Failures()
    audit = AuditLog(
        StandardOutput(write=write), on_failure=failures, timestamp=noon, retry_seconds=0.0
    )
    audit.record("hq", [finished(number) for number in range(1, 101)])
    audit.start()
    failures.wait(5)
    audit.close(LONG_SECONDS)

    written = [(one["server"], one["id"], one["event"]) for one in lines_in(bytes(content))]
    assert [line for line, _ in groupby(written)] == [
        event(number) for number in range(1, 101) for event in (started, ended)
    ]
    assert len(written) <= 200 + 5  # an interrupted line is repeated


@pytest.mark.usefixtures("capfd")
def test_closing_logs_only_the_sessions_whose_events_were_not_written(log: CapturedLog) -> None:
    left_bytes = 3000

    def write(_descriptor: int, data: memoryview) -> int:
        nonlocal left_bytes
        part = data[:left_bytes]
        if not part:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        left_bytes -= len(part)
        return len(part)

    failures = Failures()
    audit = AuditLog(
        StandardOutput(write=write),
        on_failure=failures,
        timestamp=noon,
        retry_seconds=LONG_SECONDS,
    )
    audit.record("hq", [finished(number) for number in range(1, 101)])
    audit.start()
    failures.wait()
    audit.close(LONG_SECONDS)

    assert log.entries()[-1]["sessions"] == 97


class StalledLog:
    """An audit log that has a predecessor, on a disk that does not answer until `recover`.

    Args:
        file: the file.
        call: the system call that does not return: `open` (of the predecessor) or `write`.
    """

    def __init__(self, file: Path, call: str) -> None:
        write(file, running(1))
        rotate(file)
        self.failures, self.clocks = Failures(), SystemClocks()
        self._hanging, self._well = threading.Event(), threading.Event()
        disk = FailingDisk()
        setattr(disk, f"before_{call}", self._hang)
        self.audit = audit_log(
            file,
            disk=disk,
            on_failure=self.failures,
            monotonic=self.clocks.monotonic,
        )
        self.audit.record("hq", [running(2)])
        assert self._hanging.wait(LONG_SECONDS)

    def _hang(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # which opens the file
            self._hanging.set()
            assert self._well.wait(LONG_SECONDS)

    def recover(self) -> None:
        """Let the call return, and close the log."""
        self._well.set()
        self.audit.close(LONG_SECONDS)


CALLS = pytest.mark.parametrize("call", ["open", "write"])


@CALLS
def test_a_call_that_does_not_return_is_counted_repeatedly_and_logged_once(
    file: Path, log: CapturedLog, call: str
) -> None:
    stalled = StalledLog(file, call)
    counts = []
    for seconds in (0.0, 29.0, 1.0, 29.0, 1.0):
        stalled.clocks.passed_seconds += seconds
        stalled.audit.check_progress()
        counts.append(stalled.failures.count)
    stalled.recover()

    assert counts == [0, 0, 1, 1, 2]
    assert sorted((one["level"], one["msg"]) for one in log.entries()) == [
        ("ERROR", "audit log does not answer, keeping events until it does"),
        ("INFO", "audit log read"),
        ("INFO", "audit log writable again"),
    ]
    assert events_of(*all_files(file)) == [started(1), started(2)]


@CALLS
def test_a_call_that_takes_less_time_is_not_reported(
    file: Path, log: CapturedLog, call: str
) -> None:
    stalled = StalledLog(file, call)
    stalled.clocks.passed_seconds += 29.0
    stalled.audit.check_progress()
    stalled.recover()

    assert [one["msg"] for one in log.entries()] == ["audit log read"]


@CALLS
def test_events_of_too_many_sessions_are_dropped_while_a_call_does_not_return(
    file: Path, log: CapturedLog, call: str
) -> None:
    stalled = StalledLog(file, call)
    stalled.audit.record("hq", [finished(3)] * 99_999)
    stalled.clocks.passed_seconds += 30.0
    stalled.audit.check_progress()
    stalled.audit.record("hq", [finished(4)])  # the first that is too many
    stalled.audit.record("hq", [finished(5)])
    stalled.recover()

    assert events_of(*all_files(file)) == [
        started(1),
        started(2),
        started(3),
        ended(3),
    ]
    assert [one["msg"] for one in log.entries()].count(
        "audit log keeps too many events, dropping new ones"
    ) == 1


def test_a_long_log_that_is_being_read_answers(log: CapturedLog) -> None:
    clocks, read, wanted = SystemClocks(), threading.Semaphore(0), threading.Semaphore(0)

    class LongLog(StandardOutput):
        """A log whose events are read at the pace of the test."""

        def read_events(self) -> Iterator[LoggedEvent]:
            for number in range(1, 6):
                read.release()
                assert wanted.acquire(timeout=LONG_SECONDS)
                yield LoggedEvent(Event.ENDED, "hq", session_id(number))

    audit = AuditLog(LongLog(), on_failure=unexpected, timestamp=noon, monotonic=clocks.monotonic)
    audit.start()
    for _ in range(5):
        assert read.acquire(timeout=LONG_SECONDS)
        clocks.passed_seconds += 29.0
        audit.check_progress()
        wanted.release()
    audit.close(LONG_SECONDS)

    assert [one["msg"] for one in log.entries()] == ["audit log read"]
