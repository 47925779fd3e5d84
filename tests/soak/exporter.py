"""The exporter in a process of its own, which polls when it is told to: `python -m soak.exporter SERVERS CLOCK`.

SERVERS is a file with the servers' part of a configuration, CLOCK the file of a shared clock. It writes the URL of its
web server; from then on each line it reads is a poll to make, and each line it writes one that was made.
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
        _say(exporter.url)
        for _ in sys.stdin:
            exporter.poll()
            _say("polled")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
