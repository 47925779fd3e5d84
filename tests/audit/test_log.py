from __future__ import annotations

import errno
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.audit import AuditLog
from exporter.audit.file import Limits
from exporter.audit.log import _limits
from exporter.system.files import OutputError
from exporter.vb365.records.extras import Statistics
from exporter.vb365.records.restore_session import RestoreSession
from support.audit_files import (
    LONG_SECONDS,
    BadDisk,
    Failures,
    all_files,
    events_of,
    lines_of,
    noon,
    unexpected,
    write,
)
from support.log_capture import CapturedLog
from support.sample_sessions import finished, running, session_id

# Small enough that every few lines a file is rotated, with all of them kept.
ROTATING = Limits(most_bytes=2000)


def started(number: int, server: str = "hq") -> tuple[str, str, str]:
    return server, session_id(number), "started"


def ended(number: int, server: str = "hq") -> tuple[str, str, str]:
    return server, session_id(number), "ended"


def begun(file: Path | None, **seams: Any) -> AuditLog:
    audit = AuditLog(
        file, **{"failed": unexpected, "timestamp": noon, "retry_seconds": 0.01, **seams}
    )
    audit.start()
    return audit


def test_a_start_and_an_end_are_a_line_each_as_they_were_told(file: Path) -> None:
    audit = begun(file)
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
    assert "2026-03-01T12:00:00.000Z" == first["time"] == second["time"]


def test_a_session_that_is_told_of_when_it_is_over_has_started_and_ended(file: Path) -> None:
    write(file, finished(1), running(2))

    assert [started(1), ended(1), started(2)] == events_of(file)


def test_what_is_told_again_is_not_written_again(file: Path) -> None:
    audit = begun(file)
    for _ in range(3):
        audit.record("hq", [running(1), finished(2), running(2)])
        audit.record("branch", [running(1)])
    audit.close(LONG_SECONDS)

    assert sorted([started(1), started(2), ended(2), started(1, "branch")]) == sorted(
        events_of(file)
    )


def test_a_restart_writes_only_what_is_new(file: Path) -> None:
    write(file, running(1), finished(2), running(3))
    write(file, running(1), finished(2), finished(3), running(4))
    write(file, finished(1), finished(2), finished(3), running(4))

    assert [
        *(started(1), started(2), ended(2), started(3)),
        *(ended(3), started(4), ended(1)),
    ] == events_of(file)


def test_names_of_servers_are_recognized_whatever_is_in_them(file: Path) -> None:
    for _ in range(2):
        for server in ("München", 'a"b\\', "a\ud800b", "hq"):
            write(file, running(1), server=server)

    assert [server for server, _, _ in events_of(file)] == ["München", 'a"b\\', "a\ufffdb", "hq"]


def test_what_was_written_is_known_from_rotated_files_too(file: Path) -> None:
    sessions = [finished(number) for number in range(1, 20)]
    for length in range(1, 20):
        write(file, *sessions[:length], running(30), limits=ROTATING)

    files = all_files(file)
    assert len(files) > 5
    assert sorted(
        [started(30), *(event(n) for n in range(1, 20) for event in (started, ended))]
    ) == sorted(events_of(*files))


def test_what_a_crash_left_is_completed_wherever_it_breaks_off(file: Path) -> None:
    write(file, running(1), finished(2))
    write(file, finished(1), running(3))
    content = file.read_bytes()
    sessions = [finished(1), finished(2), running(3)]

    first_of_last = content.index(b'"event":"ended"')
    for length in range(first_of_last, len(content)):
        file.write_bytes(content[:length])
        write(file, *sessions)

        assert sorted(
            [started(1), ended(1), started(2), ended(2), started(3)]
        ) == sorted(events_of(file)), length  # fmt: skip
        assert file.read_bytes().startswith(content[: content.rfind(b"\n", 0, length) + 1])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 6)),
        st.tuples(st.just("end"), st.integers(1, 6)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 400)),
        st.tuples(st.just("full"), st.integers(0, 900)),
        st.tuples(st.just("move"), st.just(0)),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_whatever_happens_each_event_is_written_once_and_a_start_before_its_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    file = tmp_path_factory.mktemp("audit") / "audit.log"
    sessions: dict[int, RestoreSession] = {}
    disk, failures = BadDisk(), Failures()
    audit = begun(file, disk=disk, failed=failures, limits=ROTATING)
    for moved, (step, number) in enumerate(steps):
        if step in {"run", "end"}:
            session = running(number) if step == "run" else finished(number)
            if number in sessions and sessions[number].stopped:
                session = sessions[number]
            sessions[number] = session
            audit.record("hq", [session])
        elif step == "full":
            disk.free_bytes = number
        elif step == "move":
            with suppress(FileNotFoundError):  # just rotated
                file.rename(file.with_name(f"audit.log.{moved}"))
        elif step in {"restart", "crash"}:
            audit.close(LONG_SECONDS)
            if step == "crash" and file.exists():
                content = file.read_bytes()
                file.write_bytes(content[: max(0, len(content) - number)])
            disk.free_bytes = None
            audit = begun(file, disk=disk, failed=failures, limits=ROTATING)
            audit.record("hq", sessions.values())
    disk.free_bytes = None
    audit.record("hq", sessions.values())
    audit.close(LONG_SECONDS)

    events = events_of(*(one for one in all_files(file) if one.exists()))
    assert sorted(
        [started(n) for n in sessions] + [ended(n) for n, one in sessions.items() if one.stopped]
    ) == sorted(events)


def test_a_full_disk_is_counted_told_once_and_made_up_for(file: Path, log: CapturedLog) -> None:
    disk, failures = BadDisk(), Failures()
    audit = begun(file, disk=disk, failed=failures)
    disk.free_bytes = 1000
    audit.record("hq", [finished(number) for number in range(1, 10)])
    failures.wait(3)
    audit.record("hq", [running(10)])
    failures.wait(3)
    audit.record("hq", [finished(10)])
    disk.free_bytes = None
    audit.close(LONG_SECONDS)

    assert [event(n) for n in range(1, 11) for event in (started, ended)] == events_of(file)
    assert lines_of(file)[-2]["state"] == "Working"
    told = [(one["level"], one["msg"]) for one in log.entries()]
    assert told == [
        ("ERROR", "audit log cannot be written, what is to be written waits"),
        ("INFO", "audit log is written again"),
    ]
    assert log.entries()[0]["error"] == "No space left on device"
    for personal in ("contoso", "CONTOSO", "Exchange", "srv01"):
        assert personal not in log.stream.getvalue()


@pytest.mark.parametrize("call", ["write", "sync", "open", "read"])
def test_trouble_of_any_kind_is_survived(file: Path, call: str) -> None:
    write(file, running(1))
    disk, failures = BadDisk(), Failures()
    disk.failing = {call: errno.EIO}
    audit = begun(file, disk=disk, failed=failures)
    audit.record("hq", [finished(1), finished(2)])
    failures.wait(2)
    disk.failing = {}
    audit.close(LONG_SECONDS)

    assert [started(1), ended(1), started(2), ended(2)] == events_of(file)


def test_a_folder_that_goes_and_comes_back_is_survived(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    failures = Failures()
    audit = begun(folder / "audit.log", failed=failures)
    folder.rename(tmp_path / "away")
    audit.record("hq", [finished(1)])
    failures.wait()
    (tmp_path / "away").rename(folder)
    audit.close(LONG_SECONDS)

    assert [started(1), ended(1)] == events_of(folder / "audit.log")


def test_a_defect_is_told_without_a_word_of_the_session_and_does_not_end_the_log(
    file: Path, log: CapturedLog
) -> None:
    disk, failures = BadDisk(), Failures()
    audit = begun(file, disk=disk, failed=failures)

    def fail() -> None:
        raise ValueError("jane.doe")

    disk.before_write = fail
    audit.record("hq", [running(1)])
    failures.wait(2)
    disk.before_write = lambda: None
    audit.close(LONG_SECONDS)

    assert [started(1)] == events_of(file)
    assert log.entries()[0]["error"] == "internal: ValueError"
    assert "jane" not in log.stream.getvalue()


def test_a_disk_that_hangs_holds_up_neither_who_records_nor_who_closes(
    file: Path, log: CapturedLog
) -> None:
    disk, hanging, well = BadDisk(), threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        assert well.wait(LONG_SECONDS)

    disk.before_write = hang
    audit = begun(file, disk=disk)
    audit.record("hq", [running(1)])
    assert hanging.wait(LONG_SECONDS)

    audit.record("hq", [finished(number) for number in range(1, 10)])
    audit.close(0.0)

    assert [one["msg"] for one in log.entries()] == ["audit log cannot be closed in time"]
    well.set()
    audit.close(LONG_SECONDS)
    assert [event(n) for n in range(1, 10) for event in (started, ended)] == events_of(file)


def test_closing_gives_up_on_a_disk_that_fails_and_says_how_much_is_left(
    file: Path, log: CapturedLog
) -> None:
    disk, failures = BadDisk(), Failures()
    disk.free_bytes = 0
    audit = begun(file, disk=disk, failed=failures, retry_seconds=LONG_SECONDS)
    audit.record("hq", [finished(1), running(2)])
    failures.wait()

    audit.close(LONG_SECONDS)

    assert failures.count == 2  # once more: it might have been well again
    assert (
        log.entries()[-1]["msg"],
        log.entries()[-1]["sessions"],
    ) == ("sessions not in the audit log yet", 2)
    write(file, finished(1), running(2))
    assert [started(1), ended(1), started(2)] == events_of(file)


def test_a_log_that_is_closed_without_news_is_a_file_without_lines(file: Path) -> None:
    audit = begun(file)
    audit.record("hq", [])
    audit.close(LONG_SECONDS)
    audit.record("hq", [running(1)])

    assert file.read_bytes() == b""


def test_a_place_that_cannot_be_written_to_is_told_at_the_start(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "absent" / "audit.log", failed=unexpected, timestamp=noon)

    with pytest.raises(OutputError, match=r"absent/audit\.log: No such file or directory"):
        audit.start()
    audit.close(0.0)


def test_ends_wait_for_the_disk_once_for_many_and_starts_do_not(file: Path) -> None:
    disk = BadDisk()
    audit = begun(file, disk=disk)
    audit.record("hq", [running(number) for number in range(1, 50)])
    audit.close(LONG_SECONDS)
    assert "sync" not in disk.calls

    write(file, *(finished(number) for number in range(1, 50)), disk=disk)
    assert disk.calls.count("sync") == 1


def test_a_file_that_is_deleted_takes_what_is_remembered_of_its_ends_along(file: Path) -> None:
    later = noon() + 10.0**9  # the wall clock says that the files are old
    seams: dict[str, Any] = {
        "limits": Limits(most_bytes=2000, kept_files=1),
        "timestamp": lambda: later,
    }
    write(file, running(100), **seams)
    for number in range(1, 10):
        write(file, finished(number), **seams)
    audit = begun(file, **seams)
    audit.record("hq", [finished(10 + number) for number in range(2000)])
    audit.close(LONG_SECONDS)

    assert len(all_files(file)) == 2
    told = events_of(*all_files(file))
    assert started(1) not in told
    assert ended(2009) in told
    assert len(told) == 2 * len(audit._written)


def test_rotated_files_are_kept_for_as_long_as_a_session_in_them_may_be_told_of_again() -> None:
    day = 86400.0

    assert 400 * day == _limits(lambda: 7 * day).kept_seconds()
    assert 501 * day == _limits(lambda: 500 * day).kept_seconds()


def test_what_is_much_is_written_in_parts_and_none_is_lost(file: Path) -> None:
    disk, long = BadDisk(), "\u20ac" * 2048
    write(
        file,
        *(finished(number, details=long, reason=long, name=long) for number in range(1, 61)),
        disk=disk,
    )

    assert [event(n) for n in range(1, 61) for event in (started, ended)] == events_of(file)
    assert 3 < disk.calls.count("write") < 10


def test_on_standard_output_each_life_tells_each_event_once(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    for _ in range(2):
        audit = begun(None)
        audit.record("hq", [running(1), finished(2)])
        audit.record("hq", [running(1)._replace(details="1 items processed")])
        audit.close(LONG_SECONDS)

    assert capfdbinary.readouterr().out.count(b"\n") == 6
