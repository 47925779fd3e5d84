from __future__ import annotations

import threading
from collections.abc import Callable

from exporter.system.standard_error import LineWriter
from support.waiting import wait_until


class Pipe:
    """A stream that accepts a few bytes at a time, and none while it is blocked."""

    def __init__(self) -> None:
        self.written = b""
        self.accepted_bytes = 1000
        self.error: OSError | None = None
        self.blocked = threading.Event()
        self.reading = threading.Event()
        self.reading.set()

    def write(self, data: bytes) -> int:
        if not self.reading.is_set():
            self.blocked.set()
        self.reading.wait()
        if self.error:
            raise self.error
        accepted = data[: self.accepted_bytes]
        self.written += accepted
        return len(accepted)


def writer_to(
    pipe: Pipe, report: Callable[[int], object] = lambda _dropped: None, max_queued_lines: int = 100
) -> LineWriter:
    return LineWriter(
        pipe.write, encode=str.encode, report=report, max_queued_lines=max_queued_lines
    )


def test_lines_are_written_in_order_and_completely() -> None:
    pipe = Pipe()
    pipe.accepted_bytes = 2
    writer = writer_to(pipe)

    for number in range(20):
        writer.put(f"line {number}")

    assert writer.flush(20)
    assert pipe.written.decode() == "".join(f"line {number}\n" for number in range(20))


def test_a_reader_that_does_not_read_blocks_neither_the_caller_nor_the_flush() -> None:
    pipe = Pipe()
    pipe.reading.clear()
    writer = writer_to(pipe)

    writer.put("line")

    assert not writer.flush(0.05)
    pipe.reading.set()
    assert writer.flush(20)
    assert pipe.written == b"line\n"


def test_lines_beyond_the_limit_are_dropped_and_counted_when_the_reader_reads_again() -> None:
    pipe = Pipe()
    pipe.reading.clear()
    dropped: list[int] = []
    writer = writer_to(pipe, dropped.append, max_queued_lines=3)
    writer.put("first")
    assert pipe.blocked.wait(20)

    for number in range(10):
        writer.put(f"{number}")
    pipe.reading.set()

    wait_until(lambda: dropped != [], "the report")
    assert pipe.written == b"first\n0\n1\n2\n"
    assert dropped == [7]


def test_a_line_that_cannot_be_written_is_counted_and_the_next_one_is_written() -> None:
    pipe = Pipe()
    pipe.error = BrokenPipeError()
    dropped: list[int] = []
    writer = writer_to(pipe, dropped.append)
    writer.put("lost")
    assert writer.flush(20)

    pipe.error = None
    writer.put("line")

    wait_until(lambda: dropped != [], "the report")
    assert pipe.written == b"line\n"
    assert dropped == [1]


def test_a_stream_that_would_block_is_written_later() -> None:
    pipe = Pipe()
    answers = [None, 0]

    def write(data: bytes) -> int | None:
        return answers.pop() if answers else pipe.write(data)

    writer = LineWriter(write, encode=str.encode, report=lambda _dropped: None)
    writer.put("line")

    assert writer.flush(20)
    assert pipe.written == b"line\n"


def test_a_line_after_an_interrupted_one_starts_a_line_of_its_own() -> None:
    pipe = Pipe()
    pipe.accepted_bytes = 3
    pieces = 0

    def write(data: bytes) -> int:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            raise OSError
        return pipe.write(data)

    writer = LineWriter(write, encode=str.encode, report=lambda _dropped: None)
    writer.put("interrupted")
    writer.put("line")

    assert writer.flush(20)
    assert pipe.written == b"int\nline\n"
