"""The log of the running command: the same events in both formats, and one event per failure instead of per poll."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

Event = dict[str, object]

PAIR = re.compile(r'([A-Za-z0-9_.\-/]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?: |$)')
HEAD = ["time", "level", "source", "msg"]


def logfmt_event(line: str) -> Event:
    """The fields of a line; a value that reads as a number is one."""
    pairs = PAIR.findall(line)
    assert line == " ".join(f"{key}={value}" for key, value in pairs)
    return {key: plain(value) for key, value in pairs}


def plain(value: str) -> object:
    text = ast.literal_eval(value) if value.startswith('"') else value
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_event(line: str) -> Event:
    event: Event = json.loads(line)
    return event


class Exporter:
    """A running command and its log."""

    def __init__(self, directory: Path, log_format: str) -> None:
        self.port = free_port()
        self.log = directory / log_format
        self.log_format = log_format
        self.command = [
            *EXPORTER,
            f"--config.file={directory / 'config.yaml'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--log.format={log_format}",
        ]

    def events(self) -> list[Event]:
        read = {"logfmt": logfmt_event, "json": json_event}[self.log_format]
        return [read(line) for line in self.log.read_text().split("\n")[:-1]]

    def failed_polls(self) -> float:
        metrics = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30).text
        counts = re.findall(r"^vb365_poll_failures_total\{.*\} (.*)$", metrics, re.MULTILINE)
        return sum(map(float, counts))

    def wait_for_event(self, message: str, **fields: str) -> None:
        wait_until(
            lambda: any(
                event["msg"] == message and fields.items() <= event.items()
                for event in self.events()
            ),
            f"{message} {fields} in {self.log_format}",
        )

    def wait_for_failed_polls(self) -> None:
        """Until two more polls have failed."""
        enough = self.failed_polls() + 2
        wait_until(lambda: self.failed_polls() >= enough, f"failed polls, {self.log_format}")


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    with Simulator(World(activity=False, sessions=5)) as simulator:
        # Long enough for a poll of a slow machine: one that overran would be logged, too.
        write_config(tmp_path, server_yaml(simulator), "poll_interval: 4s")
        yield simulator


FAILED = "poll failed, keeping unconfirmed data until it is stale"
AGAIN = "poll succeeded again"


def test_both_formats_have_the_same_events_and_a_failure_is_logged_when_it_starts_changes_and_ends(
    tmp_path: Path, simulator: Simulator
) -> None:
    exporters = [Exporter(tmp_path, log_format) for log_format in ("logfmt", "json")]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(running_process(exporter.command, exporter.log))
            for exporter in exporters
        ]
        for exporter in exporters:
            exporter.wait_for_event("first poll succeeded")
        # Neither of the two failures is repeated within a poll: no poll takes longer than its interval.
        simulator.faults.set("html", route="list")
        for exporter in exporters:
            exporter.wait_for_event(FAILED, reason="bad_response")
            exporter.wait_for_failed_polls()
        # The one set first strikes until it is cleared: no poll succeeds in between.
        simulator.faults.set("forbidden", route="list")
        simulator.faults.clear("html")
        for exporter in exporters:
            exporter.wait_for_event(FAILED, reason="forbidden")
            exporter.wait_for_failed_polls()
        simulator.faults.clear()
        for exporter in exporters:
            exporter.wait_for_event(AGAIN)
        for process in processes:
            process.terminate()
            assert process.wait(60) == 0

    in_logfmt, in_json = ([stable(event) for event in one.events()] for one in exporters)
    assert in_logfmt == in_json
    assert [(event["level"], event["msg"], event.get("reason")) for event in in_logfmt] == [
        ("INFO", "started", None),
        ("INFO", "first poll succeeded", None),
        ("WARN", FAILED, "bad_response"),
        ("WARN", FAILED, "forbidden"),
        ("INFO", AGAIN, None),
        ("INFO", "stopping", None),
        ("INFO", "stopped", None),
    ]
    for exporter in exporters:
        events = exporter.events()
        assert all(list(event)[:4] == HEAD for event in events)
        (duration,) = [e["failed_for_seconds"] for e in events if e["msg"] == AGAIN]
        assert isinstance(duration, float)
        assert duration > 0


def stable(event: Event) -> Event:
    """Return an event with the values that differ between runs masked."""
    varying = ("time", "listening", "failed_for_seconds")
    return event | {key: "..." for key in varying if key in event}
