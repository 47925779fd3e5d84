from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from exporter.system.files import OutputError, atomic_write, check_writable, write_stdout
from support.standard_output import read_stdout


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that removes the permissions of the group and of others."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    file.write_bytes(b"old and longer than the new one\n")

    with file.open("rb") as reader:
        atomic_write(file, [b"new", b"\n"])
        assert reader.read() == b"old and longer than the new one\n"

    assert file.read_bytes() == b"new\n"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("umask")
def test_everybody_may_read_a_new_file_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"

    atomic_write(file, [b"new\n"])

    assert stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "vb365.prom"
    file.touch()
    file.chmod(mode)

    atomic_write(file, [b"new\n"])

    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new\n", mode)


def test_no_byte_of_a_private_file_is_readable_by_others_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    file.touch(0o600)
    modes: list[int] = []

    def chunks() -> Iterator[bytes]:
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
        yield b"new\n"

    atomic_write(file, chunks())

    assert modes == [0o600, 0o600]


def test_the_bytes_are_on_disk_before_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "vb365.prom"
    synced: list[tuple[bytes, bool]] = []

    def fsync(descriptor: int) -> None:
        (temporary,) = tmp_path.iterdir()
        synced.append((temporary.read_bytes(), os.fstat(descriptor).st_ino == inode(temporary)))

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(file, [b"new\n"])

    assert synced == [(b"new\n", True)]


def inode(file: Path) -> int:
    return file.stat().st_ino


def test_when_writing_fails_the_old_file_stays_and_nothing_is_left_behind(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    file.write_bytes(b"old\n")

    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"vb365\.prom: No space left on device"):
        atomic_write(file, chunks())

    assert file.read_bytes() == b"old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_when_the_content_raises_nothing_is_left_behind(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "vb365.prom", chunks())

    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "vb365.prom"
    link.symlink_to("there/vb365.prom")

    atomic_write(link, [b"new\n"])

    assert link.is_symlink()
    assert (tmp_path / "there" / "vb365.prom").read_bytes() == b"new\n"


def test_the_textfile_collector_ignores_the_temporary_file(tmp_path: Path) -> None:
    names: list[str] = []

    def chunks() -> Iterator[bytes]:
        names.extend(file.name for file in tmp_path.iterdir())
        yield b""

    atomic_write(tmp_path / "vb365.prom", chunks())

    (name,) = names
    assert not name.endswith(".prom")


def test_checking_a_writable_path_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "vb365.prom"
    check_writable(file)
    assert list(tmp_path.iterdir()) == []

    file.write_bytes(b"old\n")
    check_writable(file)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"old\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent/vb365.prom", "No such file or directory"),
        ("file/vb365.prom", "Not a directory"),
        ("folder", "not a regular file"),
        ("null", "not a regular file"),
    ],
)
def test_a_path_that_cannot_be_written_is_an_error_of_the_check_and_of_the_write(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to(os.devnull)
    before = sorted(tmp_path.iterdir())

    for attempt in (check_writable, partial(atomic_write, chunks=[b"new\n"])):
        with pytest.raises(OutputError) as caught:
            attempt(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {why}"

    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_bytes_are_printed_unchanged(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert write_stdout([b"M\xc3\xbc", b"nchen\n"])

    assert capfdbinary.readouterr().out == b"M\xc3\xbcnchen\n"


def test_text_is_printed_to_a_stream_that_replaces_standard_output() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert write_stdout(["Mü".encode(), b"nchen\n"])

    assert stream.getvalue() == "München\n"


def test_a_non_blocking_standard_output_gets_all_bytes() -> None:
    chunks = [b"%d\n" % number for number in range(20_000)]

    with read_stdout(is_blocking=False) as content:
        assert write_stdout(chunks)

    assert content == b"".join(chunks)
