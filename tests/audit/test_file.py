from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from exporter.audit import AuditFile
from exporter.audit.record import Event, LoggedEvent, format_line
from exporter.system.files import OutputError
from support.audit_files import FailingDisk, all_files, noon, rotate
from support.log_capture import CapturedLog
from support.sample_sessions import running, session_id


def started(number: int) -> bytes:
    return format_line(Event.STARTED, "hq", running(number), noon())


def event(number: int) -> LoggedEvent:
    return LoggedEvent(Event.STARTED, "hq", session_id(number))


def opened(file: Path, disk: FailingDisk | None = None) -> AuditFile:
    audit = AuditFile(file, calls=disk.calls if disk else None)
    audit.open()
    return audit


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_lines_are_appended_and_read_back(file: Path) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    audit.append(started(2) + started(3), sync=True)
    audit.close()

    assert file.read_bytes() == started(1) + started(2) + started(3)
    assert [*opened(file).read_events()] == [event(1), event(2), event(3)]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_new_file_is_private_whatever_the_umask(file: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        audit = opened(file)
        audit.append(started(1), sync=False)
        rotate(file)
        audit.append(started(2), sync=False)
    finally:
        os.umask(before)

    assert [mode(one) for one in all_files(file)] == [0o600, 0o600]


def test_a_file_that_others_can_access_is_restricted_and_that_is_logged(
    file: Path, log: CapturedLog
) -> None:
    file.touch()
    file.chmod(0o666)

    opened(file)

    assert mode(file) == 0o640
    (entry,) = log.entries()
    assert (
        entry["msg"],
        entry["mode_was"],
        entry["mode"],
    ) == ("audit log was accessible to others, mode restricted", "0666", "0640")


def test_a_new_file_has_the_mode_of_its_predecessor(file: Path) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    file.chmod(0o640)
    rotate(file)

    audit.append(started(2), sync=False)

    assert [mode(one) for one in all_files(file)] == [0o640, 0o640]


def test_a_new_file_has_the_mode_of_a_predecessor_rotated_while_the_exporter_was_stopped(
    file: Path,
) -> None:
    for number in (1, 2):
        audit = opened(file)
        audit.append(started(number), sync=False)
        audit.close()
        file.chmod(0o640 if number == 2 else 0o600)
        os.utime(file, (number, number))
        rotate(file)

    opened(file).close()

    assert mode(file) == 0o640


def test_a_new_file_stays_writable_and_closed_to_others_whatever_the_mode_of_its_predecessor(
    file: Path,
) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    audit.close()
    rotate(file)
    file.with_name("audit.log.1").chmod(0o444)

    opened(file).close()

    assert mode(file) == 0o640


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent/audit.log", "No such file or directory"),
        ("file/audit.log", "Not a directory"),
        ("folder", "not a regular file; standard output is -"),
        ("pipe", "not a regular file; standard output is -"),
        ("device", "not a regular file; standard output is -"),
        ("loop", "Too many levels of symbolic links"),
        ("foreign", "not an audit log but another kind of file"),
        ("foreign and short", "not an audit log but another kind of file"),
        ("log of another program", "not an audit log but another kind of file"),
    ],
)
def test_anything_but_an_audit_log_is_refused_and_left_unchanged(
    tmp_path: Path, name: str, problem: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to(os.devnull)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "foreign").write_text("servers:\n- url: https://vb365")
    (tmp_path / "foreign and short").write_text("{}")
    (tmp_path / "log of another program").write_text('{"time":"2026-03-01","level":"INFO"')
    before = sorted(tmp_path.iterdir())

    with pytest.raises(OutputError) as caught:
        opened(tmp_path / name)

    assert str(caught.value) == f"audit log {tmp_path / name}: {problem}"
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "foreign").read_text() == "servers:\n- url: https://vb365"
    assert (tmp_path / "log of another program").stat().st_size == 35


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_path_that_cannot_be_written_is_refused_at_startup(file: Path, number: int) -> None:
    disk = FailingDisk()
    disk.failing["open"] = number

    with pytest.raises(OutputError, match=os.strerror(number)):
        opened(file, disk)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_transient_disk_error_at_startup_is_retried_on_the_first_write(
    file: Path, number: int
) -> None:
    disk = FailingDisk()
    disk.failing["open"] = number
    audit = opened(file, disk)
    disk.failing.clear()

    audit.append(started(1), sync=True)

    assert file.read_bytes() == started(1)


def test_a_second_process_with_the_same_file_is_refused(file: Path) -> None:
    first = opened(file)

    with pytest.raises(OutputError, match=r"audit\.log: another process is writing to it"):
        opened(file)

    first.append(started(1), sync=False)
    with pytest.raises(OutputError, match="another process"):
        opened(file)
    first.close()
    opened(file).close()
    assert file.read_bytes() == started(1)


def test_the_file_is_also_locked_after_a_rotation(file: Path) -> None:
    first = opened(file)
    first.append(started(1), sync=False)
    rotate(file)
    first.append(started(2), sync=False)

    with pytest.raises(OutputError, match="another process"):
        opened(file)


def test_a_symbolic_link_stays_and_its_target_is_written_and_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "real.log"
    link = tmp_path / "audit.log"
    link.symlink_to("there/real.log")

    audit = opened(link)
    audit.append(started(1), sync=False)
    rotate(target)
    audit.append(started(2), sync=False)

    assert link.is_symlink()
    assert [one.read_bytes() for one in all_files(target)] == [started(1), started(2)]


def test_an_incomplete_last_line_is_cut_off_wherever_it_ends(file: Path, log: CapturedLog) -> None:
    complete, last = started(1) + started(2), started(3)
    file.touch(0o600)
    for length in range(len(last)):
        file.write_bytes(complete + last[:length])

        audit = opened(file)

        assert file.read_bytes() == complete
        assert [*audit.read_events()] == [event(1), event(2)]
        audit.close()
        assert len(log.entries()) == (1 if length else 0)
        log.clear()


def test_a_file_with_only_an_incomplete_line_is_emptied(file: Path) -> None:
    for length in range(1, 20):
        file.write_bytes(started(1)[:length])

        opened(file).close()

        assert file.read_bytes() == b""


@pytest.mark.parametrize("before", [b"", started(1)])
def test_blocks_that_never_reached_the_disk_are_cut_off(file: Path, before: bytes) -> None:
    file.write_bytes(before + b"\0" * 200_000)

    audit = opened(file)

    assert file.read_bytes() == before
    audit.append(started(2), sync=True)
    assert file.read_bytes() == before + started(2)


@pytest.mark.parametrize("tail", [b"", started(3)[-9:], started(3), started(3)[:5]])
def test_a_log_whose_first_block_never_reached_the_disk_is_continued(
    file: Path, tail: bytes
) -> None:
    lost = b"\0" * 4096 + started(1)[-20:]
    file.write_bytes(lost + started(2) + tail)

    audit = opened(file)

    complete = tail if tail.endswith(b"\n") else b""
    assert file.read_bytes() == lost + started(2) + complete
    assert event(2) in [*audit.read_events()]


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\1\0 a picture or a font",
        b"\0asm\x01\n\0\0",
        b"\0" * 512 + b"{}\n" + b"the rest",
        b"\0" * (2**20 + 1),
        b"\0" * 2**21 + started(1),
    ],
    ids=["picture", "assembly", "lines", "disk", "large"],
)
def test_a_foreign_file_that_begins_with_nul_is_refused_and_left_unchanged(
    file: Path, content: bytes
) -> None:
    file.write_bytes(content)

    with pytest.raises(OutputError, match="not an audit log but another kind of file"):
        opened(file)

    assert file.read_bytes() == content


def test_foreign_lines_are_counted_in_the_log_and_kept(file: Path, log: CapturedLog) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    with file.open("ab") as other:
        other.write(b"a note of jane.doe\n")
    audit.append(started(2), sync=False)

    assert [*audit.read_events()] == [event(1), event(2)]

    assert file.read_bytes() == started(1) + b"a note of jane.doe\n" + started(2)
    (entry,) = log.entries()
    assert (entry["msg"], entry["lines"]) == ("unrecognised lines in audit log", 1)
    assert "jane" not in log.stream.getvalue()


@pytest.mark.parametrize("free_bytes", range(0, 900, 7))
def test_a_partial_write_to_a_full_disk_is_removed_before_the_next(
    file: Path, free_bytes: int
) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(1), sync=True)
    disk.free_bytes = free_bytes
    lines = started(2) + started(3)

    if free_bytes < len(lines):
        with pytest.raises(OSError, match="No space left on device"):
            audit.append(lines, sync=True)
        disk.free_bytes = None
        audit.append(lines, sync=True)
    else:
        audit.append(lines, sync=True)

    assert file.read_bytes() == started(1) + lines


def test_no_line_of_a_failed_write_counts_even_if_removing_it_fails_at_first(
    file: Path,
) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(1), sync=True)
    disk.free_bytes = 10
    with pytest.raises(OSError, match="No space left"):
        audit.append(started(2), sync=True)
    disk.free_bytes = None
    disk.failing = {"truncate": errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        audit.append(started(3), sync=True)
    disk.failing = {}

    audit.append(started(4), sync=True)

    assert file.read_bytes() == started(1) + started(4)


def test_lines_that_may_not_have_reached_the_disk_are_written_again(file: Path) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    disk.failing = {"sync": errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        audit.append(started(1), sync=True)
    disk.failing = {}

    audit.append(started(1), sync=True)

    assert file.read_bytes() == started(1)
    assert disk.names[-5:] == ["write", "sync", "truncate", "write", "sync"]


def test_closing_removes_what_a_failed_write_left(file: Path) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    disk.free_bytes = 10
    with pytest.raises(OSError, match="No space left"):
        audit.append(started(1), sync=True)
    assert file.stat().st_size == 10

    audit.close()

    assert file.read_bytes() == b""


def test_an_append_waits_for_the_disk_only_on_request(file: Path) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)

    audit.append(started(1), sync=False)
    assert "sync" not in disk.names
    audit.append(started(2), sync=True)
    assert disk.names[-2:] == ["write", "sync"]


def test_a_file_that_was_moved_is_reopened_and_its_predecessor_is_read(file: Path) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    rotate(file)

    audit.append(started(2), sync=False)

    assert [one.read_bytes() for one in all_files(file)] == [started(1), started(2)]
    assert [*audit.read_events()] == [event(1), event(2)]


def test_a_partial_line_is_removed_from_the_file_that_was_moved(
    file: Path,
) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(1), sync=True)
    disk.free_bytes = 10
    with pytest.raises(OSError, match="No space left"):
        audit.append(started(2), sync=True)
    rotate(file)
    disk.free_bytes = None

    audit.append(started(2), sync=True)

    assert [one.read_bytes() for one in all_files(file)] == [started(1), started(2)]


@pytest.mark.parametrize(
    "name",
    [
        *("audit.log.1", "audit.log.2", "audit.log-20261125", "audit.log-2026-11-23"),
        *("audit.log-20261125-1795000000", "audit.log.20261125"),
    ],
)
def test_a_file_that_logrotate_named_is_read(file: Path, name: str) -> None:
    file.with_name(name).write_bytes(started(1))

    assert [*opened(file).read_events()] == [event(1)]


@pytest.mark.parametrize(
    "name",
    [
        *("audit.log.2.gz", "audit.log.bak", "audit.log.swp", "other.log.1", "audit.log.1~"),
        *("audit.log-20261125.gz", "audit.logger"),
    ],
)
def test_compressed_and_unrelated_files_are_not_read(file: Path, name: str) -> None:
    file.with_name(name).write_bytes(started(1))
    file.with_name("audit.log.3").mkdir()

    assert [*opened(file).read_events()] == []


def test_no_event_is_missed_if_the_files_are_rotated_while_they_are_read(file: Path) -> None:
    file.with_name("audit.log.1").write_bytes(started(1))
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(2), sync=False)

    def rotate_once() -> None:
        disk.before_open = lambda: None
        rotate(file)

    disk.before_open = rotate_once

    assert {*audit.read_events()} == {event(1), event(2)}


def test_a_predecessor_that_cannot_be_read_is_logged_and_skipped(
    file: Path, log: CapturedLog
) -> None:
    file.with_name("audit.log.1").write_bytes(started(1))
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(2), sync=False)
    disk.failing = {"open": errno.EACCES}

    assert [*audit.read_events()] == [event(2)]

    (entry,) = log.entries()
    assert entry["msg"] == "cannot read rotated audit log, its events may be written again"
    assert entry["file"] == str(file.with_name("audit.log.1"))
    assert entry["error"] == "Permission denied"


def test_an_overlong_line_does_not_prevent_the_others_from_being_read(file: Path) -> None:
    file.with_name("audit.log.1").write_bytes(started(1) + b"x" * 3_000_000 + b"\n" + started(2))

    assert [*opened(file).read_events()] == [event(1), event(2)]


def test_a_file_that_was_deleted_is_created_again(file: Path) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    file.unlink()

    audit.append(started(2), sync=False)

    assert file.read_bytes() == started(2)


def test_a_file_that_was_truncated_is_continued_at_its_start(file: Path) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(1), sync=False)
    os.truncate(file, 0)
    disk.free_bytes = 5
    with pytest.raises(OSError, match="No space left"):
        audit.append(started(2), sync=False)
    disk.free_bytes = None

    audit.append(started(2), sync=False)

    assert file.read_bytes() == started(2)


def test_a_truncated_file_keeps_its_lines_if_it_cannot_be_read_at_first(file: Path) -> None:
    disk = FailingDisk()
    audit = opened(file, disk)
    audit.append(started(1) + started(2), sync=False)
    disk.free_bytes = 5
    with pytest.raises(OSError, match="No space left on device"):
        audit.append(started(3), sync=False)
    disk.free_bytes = None
    os.truncate(file, len(started(1)))
    disk.failing = {"read": errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        audit.append(started(3), sync=False)
    disk.failing = {}

    audit.append(started(3), sync=False)

    assert file.read_bytes() == started(1) + started(3)


def test_a_deleted_directory_is_a_failure_until_it_exists_again(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    audit = opened(directory / "audit.log")
    audit.append(started(1), sync=False)
    (directory / "audit.log").unlink()
    directory.rmdir()

    with pytest.raises(FileNotFoundError):
        audit.append(started(2), sync=False)
    directory.mkdir()
    audit.append(started(2), sync=False)

    assert (directory / "audit.log").read_bytes() == started(2)
