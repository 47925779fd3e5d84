from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from exporter.audit.file import AuditFile, Limits
from exporter.audit.record import Event, Told, line
from exporter.system.files import OutputError
from support.audit_files import BadDisk, all_files, noon
from support.log_capture import CapturedLog
from support.sample_sessions import running, session_id

DAY_SECONDS = 86400.0


def started(number: int) -> bytes:
    return line(Event.STARTED, "hq", running(number), noon())


def told(number: int) -> Told:
    return Told(Event.STARTED, "hq", session_id(number))


def opened(file: Path, **seams: Any) -> AuditFile:
    audit = AuditFile(file, **{"timestamp": noon, "dropped": lambda _told: None, **seams})
    audit.open()
    return audit


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_lines_are_appended_and_read_again(file: Path) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    audit.append(started(2) + started(3), sync=True)
    audit.close()

    assert started(1) + started(2) + started(3) == file.read_bytes()
    assert [told(1), told(2), told(3)] == [*opened(file).told()]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_new_file_is_for_its_owner_alone_whatever_the_umask(file: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        audit = opened(file, limits=Limits(most_bytes=1))
        audit.append(started(1), sync=False)
        audit.append(started(2), sync=False)
    finally:
        os.umask(before)

    assert [mode(one) for one in all_files(file)] == [0o600, 0o600]


def test_a_file_that_others_may_read_or_write_is_closed_to_them_and_that_is_told(
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
    ) == ("audit log was open to others", "0666", "0640")


def test_a_group_that_was_let_in_stays_so_in_the_files_that_follow(file: Path) -> None:
    file.touch()
    file.chmod(0o640)
    audit = opened(file, limits=Limits(most_bytes=1))

    audit.append(started(1), sync=False)
    audit.append(started(2), sync=False)

    assert [mode(one) for one in all_files(file)] == [0o640, 0o640]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent/audit.log", "No such file or directory"),
        ("file/audit.log", "Not a directory"),
        ("folder", "is no regular file; standard output is -"),
        ("pipe", "is no regular file; standard output is -"),
        ("device", "is no regular file; standard output is -"),
        ("loop", "Too many levels of symbolic links"),
        ("foreign", "is another kind of file, not an audit log"),
        ("foreign and short", "is another kind of file, not an audit log"),
    ],
)
def test_what_cannot_be_an_audit_log_is_refused_and_left_as_it_is(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to(os.devnull)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "foreign").write_text("servers:\n- url: https://vb365")
    (tmp_path / "foreign and short").write_text("{}")
    before = sorted(tmp_path.iterdir())

    with pytest.raises(OutputError) as caught:
        opened(tmp_path / name)

    assert f"audit log {tmp_path / name}: {why}" == str(caught.value)
    assert before == sorted(tmp_path.iterdir())
    assert (tmp_path / "foreign").read_text() == "servers:\n- url: https://vb365"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_place_that_must_not_be_written_to_is_refused_at_the_start(
    file: Path, number: int
) -> None:
    disk = BadDisk()
    disk.failing["open"] = number

    with pytest.raises(OutputError, match=os.strerror(number)):
        opened(file, disk=disk)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_trouble_that_may_pass_is_none_at_the_start(file: Path, number: int) -> None:
    disk = BadDisk()
    disk.failing["open"] = number
    audit = opened(file, disk=disk)
    disk.failing.clear()

    audit.append(started(1), sync=True)

    assert started(1) == file.read_bytes()


def test_of_two_processes_with_one_file_the_second_is_refused(file: Path) -> None:
    first = opened(file)

    with pytest.raises(OutputError, match=r"audit\.log: another process is writing to it"):
        opened(file)

    first.append(started(1), sync=False)
    with pytest.raises(OutputError, match="another process"):
        opened(file)
    first.close()
    opened(file).close()
    assert started(1) == file.read_bytes()


def test_the_lock_is_kept_across_a_rotation(file: Path) -> None:
    first = opened(file, limits=Limits(most_bytes=1))
    first.append(started(1), sync=False)
    first.append(started(2), sync=False)

    with pytest.raises(OutputError, match="another process"):
        opened(file)


def test_a_link_stays_and_what_it_leads_to_is_written_and_rotated(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "audit.log"
    link.symlink_to("there/real.log")

    audit = opened(link, limits=Limits(most_bytes=1))
    audit.append(started(1), sync=False)
    audit.append(started(2), sync=False)

    assert link.is_symlink()
    assert [started(1), started(2)] == [
        one.read_bytes() for one in all_files(tmp_path / "there" / "real.log")
    ]


def test_an_incomplete_last_line_is_cut_off_wherever_it_breaks_off(
    file: Path, log: CapturedLog
) -> None:
    whole, last = started(1) + started(2), started(3)
    file.touch(0o600)
    for length in range(len(last)):
        file.write_bytes(whole + last[:length])

        audit = opened(file)

        assert whole == file.read_bytes()
        assert [told(1), told(2)] == [*audit.told()]
        audit.close()
        assert (1 if length else 0) == len(log.entries())
        log.clear()


def test_a_file_of_nothing_but_an_incomplete_line_is_emptied(file: Path) -> None:
    for length in range(1, 20):
        file.write_bytes(started(1)[:length])

        opened(file).close()

        assert file.read_bytes() == b""


@pytest.mark.parametrize("before", [b"", started(1)])
def test_blocks_that_never_reached_the_disk_are_cut_off(file: Path, before: bytes) -> None:
    file.write_bytes(before + b"\0" * 200_000)

    audit = opened(file)

    assert before == file.read_bytes()
    audit.append(started(2), sync=True)
    assert before + started(2) == file.read_bytes()


def test_lines_of_others_are_told_of_by_number_and_kept(file: Path, log: CapturedLog) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    with file.open("ab") as other:
        other.write(b"a note of jane.doe\n")
    audit.append(started(2), sync=False)

    assert [told(1), told(2)] == [*audit.told()]

    assert started(1) + b"a note of jane.doe\n" + started(2) == file.read_bytes()
    (entry,) = log.entries()
    assert entry["lines"] == 1
    assert "jane" not in log.stream.getvalue()


@pytest.mark.parametrize("free_bytes", range(0, 900, 7))
def test_what_a_full_disk_took_of_a_write_is_cut_off_before_the_next(
    file: Path, free_bytes: int
) -> None:
    disk = BadDisk()
    audit = opened(file, disk=disk)
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

    assert started(1) + lines == file.read_bytes()


def test_nothing_of_a_write_that_failed_counts_even_if_it_cannot_be_cut_off_at_once(
    file: Path,
) -> None:
    disk = BadDisk()
    audit = opened(file, disk=disk)
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

    assert started(1) + started(4) == file.read_bytes()


def test_lines_that_may_not_have_reached_the_disk_are_written_again(file: Path) -> None:
    disk = BadDisk()
    audit = opened(file, disk=disk)
    disk.failing = {"sync": errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        audit.append(started(1), sync=True)
    disk.failing = {}

    audit.append(started(1), sync=True)

    assert started(1) == file.read_bytes()
    assert disk.calls[-5:] == ["write", "sync", "truncate", "write", "sync"]


def test_what_is_torn_at_the_end_is_cut_off_when_it_can_be(file: Path) -> None:
    disk = BadDisk()
    audit = opened(file, disk=disk)
    disk.free_bytes = 10
    with pytest.raises(OSError, match="No space left"):
        audit.append(started(1), sync=True)
    assert file.stat().st_size == 10

    audit.close()

    assert file.read_bytes() == b""


def test_only_who_asks_waits_for_the_disk(file: Path) -> None:
    disk = BadDisk()
    audit = opened(file, disk=disk)

    audit.append(started(1), sync=False)
    assert "sync" not in disk.calls
    audit.append(started(2), sync=True)
    assert disk.calls[-2:] == ["write", "sync"]


def test_a_file_that_would_grow_too_large_is_rotated_at_a_line(file: Path) -> None:
    audit = opened(file, limits=Limits(most_bytes=2 * len(started(1))))

    for number in range(1, 6):
        audit.append(started(number), sync=False)

    first, second, third = all_files(file)
    assert first.name == "audit.log.20260301T120000Z"
    assert started(1) + started(2) == first.read_bytes()
    assert started(3) + started(4) == second.read_bytes()
    assert started(5) == third.read_bytes()
    assert {told(number) for number in range(1, 6)} == {*audit.told()}


def test_a_file_that_cannot_be_rotated_grows_on_and_it_is_tried_again_when_it_has_grown(
    file: Path, log: CapturedLog
) -> None:
    disk = BadDisk()
    disk.failing["rename"] = errno.EACCES
    audit = opened(file, limits=Limits(most_bytes=50 * len(started(10))), disk=disk)
    for number in range(10, 71):
        audit.append(started(number), sync=False)

    assert b"".join(map(started, range(10, 71))) == file.read_bytes()
    assert disk.calls.count("rename") == 4  # with each three lines more
    assert [one["msg"] for one in log.entries()] == ["audit log cannot be rotated and grows on"] * 4
    disk.failing.clear()
    for number in range(71, 80):
        audit.append(started(number), sync=False)
    assert len(all_files(file)) == 2
    assert {told(number) for number in range(10, 80)} == {*audit.told()}


def test_a_new_file_grows_to_the_full_size_after_one_that_could_not_be_rotated(
    file: Path,
) -> None:
    disk = BadDisk()
    disk.failing["rename"] = errno.EACCES
    audit = opened(file, limits=Limits(most_bytes=2 * len(started(10))), disk=disk)
    for number in range(10, 20):
        audit.append(started(number), sync=False)
    disk.failing.clear()
    for number in range(20, 26):
        audit.append(started(number), sync=False)

    assert [one.read_bytes().count(b"\n") for one in all_files(file)] == [10, 2, 2, 2]


def rotated(file: Path, number: int, *, days_old: float) -> Path:
    """A file that was rotated before, with one session, last written to so many days before noon."""
    one = file.with_name(f"{file.name}.202501{number:02}T000000Z")
    one.write_bytes(started(number))
    written = noon() - days_old * DAY_SECONDS
    os.utime(one, (written, written))
    return one


def test_a_rotated_file_goes_when_there_are_more_than_are_kept_and_it_is_old_enough(
    file: Path,
) -> None:
    gone = [rotated(file, 1, days_old=402), rotated(file, 2, days_old=401)]
    kept = [rotated(file, 3, days_old=399), rotated(file, 4, days_old=398)]
    dropped: list[Told] = []
    audit = opened(file, limits=Limits(most_bytes=1, kept_files=2), dropped=dropped.extend)
    audit.append(started(5), sync=False)
    audit.append(started(6), sync=False)

    assert [told(1), told(2)] == dropped
    assert [one.exists() for one in (*gone, *kept)] == [False, False, True, True]


def test_however_old_they_are_a_number_of_files_is_kept(file: Path) -> None:
    old = [rotated(file, number, days_old=1000 - number) for number in range(1, 13)]
    audit = opened(file, limits=Limits(most_bytes=1))
    audit.append(started(20), sync=False)
    audit.append(started(21), sync=False)

    # The one that was rotated just now is written to by the wall clock of the machine: it is the newest.
    assert [one.exists() for one in old] == [False] * 3 + [True] * 9


def test_a_file_that_was_moved_by_others_is_made_anew_and_the_old_one_is_read(file: Path) -> None:
    file.touch()
    file.chmod(0o640)
    audit = opened(file)
    audit.append(started(1), sync=False)
    file.rename(file.with_name("audit.log.1"))

    audit.append(started(2), sync=False)

    assert started(1) == file.with_name("audit.log.1").read_bytes()
    assert started(2) == file.read_bytes()
    assert mode(file) == 0o640
    assert [told(1), told(2)] == [*audit.told()]


def test_a_file_that_was_deleted_by_others_is_made_anew(file: Path) -> None:
    audit = opened(file)
    audit.append(started(1), sync=False)
    file.unlink()

    audit.append(started(2), sync=False)

    assert started(2) == file.read_bytes()


def test_a_file_that_was_emptied_by_others_is_written_on_from_its_beginning(file: Path) -> None:
    disk = BadDisk()
    audit = opened(file, disk=disk)
    audit.append(started(1), sync=False)
    os.truncate(file, 0)
    disk.free_bytes = 5
    with pytest.raises(OSError, match="No space left"):
        audit.append(started(2), sync=False)
    disk.free_bytes = None

    audit.append(started(2), sync=False)

    assert started(2) == file.read_bytes()


def test_a_folder_that_is_gone_is_a_failure_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    audit = opened(folder / "audit.log")
    audit.append(started(1), sync=False)
    (folder / "audit.log").unlink()
    folder.rmdir()

    with pytest.raises(FileNotFoundError):
        audit.append(started(2), sync=False)
    folder.mkdir()
    audit.append(started(2), sync=False)

    assert started(2) == (folder / "audit.log").read_bytes()


def test_a_file_system_without_locks_is_written_to_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    opened(file).append(started(1), sync=True)

    assert started(1) == file.read_bytes()
