"""Standard outputs that are small pipes, blocking or, as another process may have made them, non-blocking."""

from __future__ import annotations

import fcntl
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

ROOM_BYTES = 4096


@contextmanager
def unread_non_blocking_stdout() -> Iterator[io.FileIO]:
    """Replace standard output with a non-blocking pipe that has room for `ROOM_BYTES`; yield its reader."""
    reader, stdout = _pipe(is_blocking=False)
    with reader, stdout, redirect_stdout(stdout):
        yield reader


@contextmanager
def read_stdout(*, is_blocking: bool) -> Iterator[bytearray]:
    """Replace standard output likewise, but read it; yield what was read, complete when the context has ended."""
    reader, stdout = _pipe(is_blocking=is_blocking)
    content = bytearray()

    def read() -> None:
        with reader:
            while part := reader.read(ROOM_BYTES):
                content.extend(part)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        with stdout, redirect_stdout(stdout):
            yield content
    finally:
        thread.join()


def _pipe(*, is_blocking: bool) -> tuple[io.FileIO, TextIO]:
    read, write = os.pipe()
    os.set_blocking(write, is_blocking)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, ROOM_BYTES)
    return io.FileIO(read), os.fdopen(write, "w")
