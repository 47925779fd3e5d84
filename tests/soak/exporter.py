"""The exporter in a process of its own, which polls on request: `python -m soak.exporter SERVERS CLOCK`.

SERVERS is a file with the `servers` list of a configuration, CLOCK the file of a shared clock. The program writes the URL
of its web server. Then it polls for each line on standard input and writes a line after each poll. After the line `break`,
nothing of the poll can be published.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from soak.clock import SharedClock

from exporter import logs
from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from exporter.system.interpreter import trim_freed_memory
from support.exporter_stepped import SteppedWorker, stepped_exporter


class BreakableWorker(SteppedWorker):
    """A worker whose snapshots cannot be published while `broken` is set."""

    broken = threading.Event()

    def __init__(self, *args: Any, publish: Any, **arguments: Any) -> None:
        def publish_unless_broken(worker: ServerWorker, snapshot: Snapshot) -> None:
            if self.broken.is_set():
                raise MemoryError
            publish(worker, snapshot)

        super().__init__(*args, publish=publish_unless_broken, **arguments)

    def poll(self) -> None:
        """Poll once; process an exception as the poll loop does."""
        try:
            super().poll()
        except MemoryError as error:
            self.poller.fail_uncompleted(error)


def main() -> None:
    servers, clock = map(Path, sys.argv[1:])
    trim_freed_memory()
    logs.configure(level="info", log_format="logfmt")
    with stepped_exporter(
        servers.read_text(), SharedClock(clock), "poll_interval: 1m", BreakableWorker
    ) as exporter:
        _write_line(exporter.url)
        for line in sys.stdin:
            if line == "break\n":
                BreakableWorker.broken.set()
            exporter.poll()
            BreakableWorker.broken.clear()
            _write_line("polled")


def _write_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
