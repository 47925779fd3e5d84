"""Feed, server and exporter stop and restart at random; nothing is lost and nothing is counted or logged twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from restarts.harness import SERVER, Harness, Run, running_harness

from support.benchmark_figures import print_table
from support.exporter_stepped import Scrape

pytestmark = pytest.mark.e2e

SEED = 1
STARTED = "vb365_restore_sessions_started_total"


@pytest.mark.timeout(0)  # takes the requested time, and then until the metrics are correct
def test_metrics_and_audit_log_are_correct_however_often_feed_server_and_exporter_restart(
    tmp_path: Path, restarts_seconds: int
) -> None:
    with running_harness(tmp_path, SEED) as harness:
        harness.run(restarts_seconds)
        run = harness.settle()
        scrape = harness.scrape()
        assert scrape is not None
        check_counters(scrape, run)
        harness.stop()
        check_audit_log(harness)
    print_figures(harness, restarts_seconds, scrape)


def check_counters(scrape: Scrape, run: Run) -> None:
    """Check that each session since the last run's first poll is counted once, and none from before that run."""
    counted = started(scrape)
    assert len(run.started_since_ready) <= counted <= len(run.started_since_start)
    restored = scrape.of(SERVER, "vb365_restored_items_total")
    assert sum(restored.values()) <= run.restored_since_start


def started(scrape: Scrape) -> float:
    return sum(scrape.of(SERVER, STARTED).values())


def check_audit_log(harness: Harness) -> None:
    """Check that the start and the end of each session are logged once, with the correct result."""
    lines = harness.audit_lines()
    events = Counter((line["id"], line["event"]) for line in lines)
    assert events == dict.fromkeys(events, 1)
    assert {line["id"] for line in lines if line["event"] == "started"} == harness.begun
    assert {
        line["id"]: line["result"] for line in lines if line["event"] == "ended"
    } == harness.ended
    order = {(line["id"], line["event"]): number for number, line in enumerate(lines)}
    assert all(order[one, "started"] < order[one, "ended"] for one in harness.ended)


def print_figures(harness: Harness, seconds: int, scrape: Scrape) -> None:
    """Print the figures of the run."""
    lines = harness.audit_lines()
    print_table(
        f"{seconds} s of restarts",
        ("figure", "number"),
        (
            *((f"sessions that {change}", str(n)) for change, n in sorted(harness.changes.items())),
            *((outage, str(n)) for outage, n in sorted(harness.outages.items())),
            ("lines of the audit log, each event once", str(len(lines))),
            ("samples on /metrics, all correct", str(len(scrape.of(SERVER)))),
        ),
    )
