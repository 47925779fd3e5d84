"""The exporter in a process of its own, which reports the outcome of each poll: `python -m chaos.exporter SERVERS`.

SERVERS is a file with the `servers` list of a configuration. The program writes a JSON line with the address of its web
server when it has started, and one after each poll of the server `faulty`. Its poller continues when a line arrives on
standard input, so that the parent process can change the server between two polls.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter import logs
from exporter.config import ServerConfig
from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from support.exporter_harness import running_exporter

FAULTY = "faulty"
POLL_SECONDS = 5


def reporting_worker(
    server: ServerConfig, *, publish: Callable[[ServerWorker, Snapshot], None], **arguments: Any
) -> ServerWorker:
    """Create a worker that reports the polls of one server."""

    def publish_and_report(worker: ServerWorker, snapshot: Snapshot) -> None:
        publish(worker, snapshot)
        if snapshot.server == FAULTY:
            status = snapshot.status
            _write_line(
                ended=status.last_poll_timestamp,
                seconds=status.last_poll_duration_seconds,
                reason=status.failure_reason,
                up=status.up,
            )
            sys.stdin.readline()

    return ServerWorker(server, publish=publish_and_report, **arguments)


def main() -> None:
    logs.configure(level="info", log_format="logfmt", stream=sys.stderr)
    servers = Path(sys.argv[1]).read_text()
    with running_exporter(
        servers, f"poll_interval: {POLL_SECONDS}s", make_worker=reporting_worker
    ) as exporter:
        _write_line(address=exporter.url.removeprefix("http://"))
        threading.Event().wait()


def _write_line(**fields: object) -> None:
    sys.stdout.write(f"{json.dumps(fields)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
