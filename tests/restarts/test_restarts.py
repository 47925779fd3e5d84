"""Feed, server and exporter break off and come back at random, and nothing is lost, and nothing told twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from restarts.harness import SERVER, Harness, Life, running_bench

from support.benchmark_figures import print_table
from support.exporter_stepped import Scrape

pytestmark = pytest.mark.e2e

SEED = 1
STARTED = "vb365_restore_sessions_started_total"


@pytest.mark.timeout(0)  # as long as it is told to, and then until the truth is shown
def test_however_often_feed_server_and_exporter_restart_metrics_and_audit_log_tell_the_truth(
    tmp_path: Path, restarts_seconds: int
) -> None:
    with running_bench(tmp_path, SEED) as harness:
        harness.go_on(restarts_seconds)
        life = harness.settle()
        scrape = harness.scrape()
        assert scrape is not None
        check_counters(scrape, life)
        harness.end()
        check_audit_log(harness)
    print_figures(harness, restarts_seconds, scrape)


def check_counters(scrape: Scrape, life: Life) -> None:
    """Every session that began since the last start's first poll is counted once, and none from before that start."""
    counted = started(scrape)
    assert len(life.begun_since_ready) <= counted <= len(life.begun_since_start)


def started(scrape: Scrape) -> float:
    return sum(scrape.of(SERVER, STARTED).values())


def check_audit_log(harness: Harness) -> None:
    """Each session began once, and those that have ended did so once, as they did in truth."""
    lines = harness.audit_lines()
    told = Counter((line["id"], line["event"]) for line in lines)
    assert told == dict.fromkeys(told, 1)
    assert {line["id"] for line in lines if line["event"] == "started"} == harness.begun
    assert {
        line["id"]: line["result"] for line in lines if line["event"] == "ended"
    } == harness.ended
    order = {(line["id"], line["event"]): number for number, line in enumerate(lines)}
    assert all(order[one, "started"] < order[one, "ended"] for one in harness.ended)


def print_figures(harness: Harness, seconds: int, scrape: Scrape) -> None:
    """Write what there was."""
    lines = harness.audit_lines()
    print_table(
        f"{seconds} s of restarts",
        ("what", "number"),
        (
            *((f"sessions that {what}", str(n)) for what, n in sorted(harness.changes.items())),
            *((what, str(n)) for what, n in sorted(harness.broken.items())),
            ("lines of the audit log, each event once", str(len(lines))),
            ("statements on /metrics, all true", str(len(scrape.of(SERVER)))),
        ),
    )
