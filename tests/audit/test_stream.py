from __future__ import annotations

import errno
import select
import sys
from collections import Counter
from pathlib import Path
from threading import Thread

import pytest

from exporter.audit.stream import PartialAppendError, StandardOutput
from exporter.system.files import OutputError, write_some
from support.standard_output import (
    ROOM_BYTES,
    read_stdout,
    unread_non_blocking_stdout,
)


class Pipe:
    """A standard output that accepts `room_bytes` and then fails."""

    def __init__(self) -> None:
        self.taken = b""
        self.room_bytes = 0

    def write(self, _descriptor: int, data: memoryview) -> int:
        part = bytes(data[: self.room_bytes])
        if not part:
            raise OSError(errno.EPIPE, "broken pipe")
        self.room_bytes -= len(part)
        self.taken += part
        return len(part)


def test_lines_are_written_to_standard_output_unchanged(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    out = StandardOutput()
    out.open()

    out.append(b"one\ntwo\n", sync=True)
    out.close()

    assert capfdbinary.readouterr().out == b"one\ntwo\n"
    assert [*out.read_events()] == []


@pytest.mark.usefixtures("capfd")
def test_a_standard_output_that_is_not_blocking_is_waited_for() -> None:
    lines = b"line\n" * 10
    taken = bytearray()
    is_full = True

    def write(_descriptor: int, data: memoryview) -> int:
        nonlocal is_full
        is_full = not is_full
        if is_full:
            raise BlockingIOError(errno.EAGAIN, "resource temporarily unavailable")
        taken.extend(data[:20])
        return len(data[:20])

    StandardOutput(write=write).append(lines, sync=True)

    assert taken == lines


@pytest.mark.usefixtures("capfd")
@pytest.mark.parametrize("room_bytes", range(12))
@pytest.mark.parametrize("more_bytes", range(12))
def test_an_interrupted_line_is_completed_before_the_next_and_none_is_lost(
    room_bytes: int, more_bytes: int
) -> None:
    pipe = Pipe()
    out = StandardOutput(write=pipe.write)
    lines = b"one\nthree\n"

    for pipe.room_bytes in (room_bytes, more_bytes, 100):
        try:
            out.append(lines, sync=True)
        except OSError:
            assert pipe.room_bytes < 100

    assert {*pipe.taken.splitlines(keepends=True)} == {b"one\n", b"three\n"}
    assert pipe.taken.endswith(lines)


def test_writing_to_a_full_device_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left on device"):
            StandardOutput().append(b"one\n", sync=False)


def test_a_process_without_standard_output_is_refused_at_startup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)

    with pytest.raises(OutputError, match="audit log: standard output is closed"):
        StandardOutput().open()


def test_a_non_blocking_standard_output_gets_all_lines_once() -> None:
    lines = b"".join(b"%d\n" % number for number in range(20_000))

    with read_stdout(is_blocking=False) as content:
        StandardOutput().append(lines, sync=True)

    assert content == lines


def test_a_write_to_a_non_blocking_standard_output_that_is_not_read_ends() -> None:
    out = StandardOutput(max_wait_seconds=0.01)
    line = b"x" * 999 + b"\n"

    with unread_non_blocking_stdout() as reader:
        with pytest.raises(PartialAppendError) as caught:
            out.append(line * 10, sync=True)
        assert (caught.value.errno, caught.value.written_lines) == (errno.EAGAIN, 4)
        content = reader.read(ROOM_BYTES) or b""
        out.append(line, sync=True)
        content += reader.read(ROOM_BYTES) or b""

    assert content == line * 5


@pytest.mark.usefixtures("capfd")
def test_each_write_is_atomic_or_a_single_longer_line() -> None:
    writes: list[bytes] = []
    lines = [
        b"%d" % number * length + b"\n" for number in range(9) for length in range(1, 9000, 999)
    ]

    def write(_descriptor: int, data: memoryview) -> int:
        writes.append(bytes(data))
        return len(data)

    StandardOutput(write=write).append(b"".join(lines), sync=True)

    assert b"".join(writes) == b"".join(lines)
    assert all(write.endswith(b"\n") for write in writes)
    assert all(write in lines for write in writes if len(write) > select.PIPE_BUF)
    assert len(writes) < len(lines)


@pytest.mark.parametrize("is_blocking", [True, False])
def test_lines_in_the_same_pipe_as_the_log_are_whole(*, is_blocking: bool) -> None:
    event, logged = b"event" * 90 + b"\n", b"log" * 70 + b"\n"

    with read_stdout(is_blocking=is_blocking) as content:
        descriptor = sys.stdout.fileno()

        def write_log() -> None:
            for _ in range(2000):
                write_some(descriptor, memoryview(logged))

        log = Thread(target=write_log)
        log.start()
        StandardOutput().append(event * 2000, sync=True)
        log.join()

    assert Counter(bytes(content).splitlines(keepends=True)) == {event: 2000, logged: 2000}
