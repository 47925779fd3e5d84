"""The benchmarks of polling work; what they measure is another matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import program

pytestmark = pytest.mark.e2e

TESTS = Path(__file__).parent.parent


@pytest.mark.timeout(400)  # they start up to five exporters at once
@pytest.mark.parametrize(
    ("arguments", "needs", "tables"),
    [
        (["poll_cost.py", "--history=0", "--history=30", "--ids=20"], None, 1),
        (["first_poll.py", "--sessions=30", "--sessions=1200", "--ids=60"], "nginx", 2),
        (["single_gets.py", "--sessions=40"], "nginx", 1),
        (
            ["scale_out.py", "--servers=8", "--sessions=4", "--watched-seconds=10"],
            "prometheus",
            2,
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_benchmark_prints_its_tables(
    arguments: list[str], needs: str | None, tables: int
) -> None:
    if needs is not None:
        program(needs, {"nginx": "nginx-light", "prometheus": "prometheus"}[needs])

    done = subprocess.run(
        [sys.executable, TESTS / "bench" / arguments[0], *arguments[1:]],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    heads = [line for line in done.stdout.splitlines() if line.startswith("|---")]
    assert tables == len(heads)
    assert len(rows) > tables
