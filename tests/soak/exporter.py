"""The exporter in a process of its own, which polls on request: `python -m soak.exporter SERVERS CLOCK`.

SERVERS is a file with the `servers` list of a configuration, CLOCK the file of a shared clock. The program writes the URL
of its web server. Then it polls for each line on standard input and writes a line after each poll.
"""

from __future__ import annotations

import sys
from pathlib import Path

from soak.clock import SharedClock

from exporter import logs
from exporter.system.interpreter import trim_freed_memory
from support.exporter_stepped import stepped_exporter


def main() -> None:
    servers, clock = map(Path, sys.argv[1:])
    trim_freed_memory()
    logs.configure(level="info", log_format="logfmt", stream=sys.stderr)
    with stepped_exporter(servers.read_text(), SharedClock(clock), "poll_interval: 1m") as exporter:
        _write_line(exporter.url)
        for _ in sys.stdin:
            exporter.poll()
            _write_line("polled")


def _write_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
