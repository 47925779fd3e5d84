from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from exporter.audit.record import Event, Told, line
from exporter.audit.rotated import new_name, rotated_files, told_in
from support.audit_files import noon
from support.log_capture import CapturedLog
from support.sample_sessions import running, session_id

LINE = line(Event.STARTED, "hq", running(1), noon())
TOLD = Told(Event.STARTED, "hq", session_id(1))


def test_names_that_are_taken_are_not_given_again(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    names = []
    for _ in range(3):
        names.append(new_name(file, noon()))
        names[-1].touch()

    assert [name.name for name in names] == [
        "audit.log.20260301T120000Z",
        "audit.log.20260301T120000Z-1",
        "audit.log.20260301T120000Z-2",
    ]
    assert sorted(names) == rotated_files(file)


def test_files_that_logrotate_has_named_are_found_and_those_of_others_are_not(
    tmp_path: Path,
) -> None:
    ours = ["audit.log.1", "audit.log.2.gz", "audit.log-20261125", "audit.log-20261124.gz",
            "audit.log-2026-11-23", "audit.log-1795000000"]  # fmt: skip
    others = ["audit.log", "audit.log.bak", "audit.log.swp", "other.log.1", "audit.log.1~"]
    for name in (*ours, *others):
        (tmp_path / name).touch()

    assert sorted(ours) == [one.name for one in rotated_files(tmp_path / "audit.log")]


def test_compressed_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "audit.log.1.gz"
    file.write_bytes(gzip.compress(LINE))

    assert [*told_in(file)] == [TOLD]


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(LINE * 3)[:-20], gzip.compress(LINE)[:15] + b"\xff" * 99]
)
def test_a_damaged_file_is_told_of_and_left(
    tmp_path: Path, log: CapturedLog, content: bytes
) -> None:
    file = tmp_path / "audit.log.1.gz"
    file.write_bytes(content)

    assert {TOLD} >= {*told_in(file)}

    (entry,) = log.entries()
    assert entry["msg"] == "rotated audit log cannot be read, events in it may be written again"
    assert str(file) == entry["file"]


def test_a_file_that_has_gone_meanwhile_is_told_of_and_left(
    tmp_path: Path, log: CapturedLog
) -> None:
    assert [*told_in(tmp_path / "audit.log.1")] == []

    assert len(log.entries()) == 1


def test_a_file_that_may_not_be_read_is_told_of_and_left(
    tmp_path: Path, log: CapturedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _mode: str) -> None:  # whoever runs the tests may read everything
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)

    assert [*told_in(tmp_path / "audit.log.1")] == []

    assert log.entries()[0]["error"] == "PermissionError"


def test_a_line_without_end_does_not_keep_the_others_from_being_read(tmp_path: Path) -> None:
    file = tmp_path / "audit.log.1"
    file.write_bytes(LINE + b"x" * 3_000_000 + b"\n" + LINE)

    assert [*told_in(file)] == [TOLD, TOLD]
