"""The benchmarks run with small inputs; their figures are meaningless here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from support.processes import debian_program

pytestmark = pytest.mark.e2e

BENCH = Path(__file__).parents[1] / "bench"
SMALL: Mapping[str, Callable[[ModuleType], None]] = {
    "changefeed": lambda bench: bench.main(changes=4),
    "events": lambda bench: bench.main(number=30, rounds=1, round_seconds=0.5),
    "first_poll": lambda bench: bench.run([30, 1200], 60),
    "memory": lambda bench: bench.main(sizes=(30,), settle_seconds=0, later_seconds=0),
    "poll_cost": lambda bench: bench.run([0, 30], 20),
    "prometheus": lambda bench: bench.main(sizes=(30,), scrapes=2, interval_seconds=1),
    "publish": lambda bench: bench.main(sizes=(30, 300), servers=(1, 2), rounds=2),
    "render": lambda bench: bench.main(sizes=(30,), rounds=1),
    "scale_out": lambda bench: bench.run(8, 4, 10.0),
    "scrape": lambda bench: bench.main(
        sizes=(30,), compared=(30,), pressed=(5, 30), scrapes=3, rounds=1, seconds=0.2
    ),
    "single_gets": lambda bench: bench.run(40),
    "start": lambda bench: bench.main(sizes=(30,), rounds=1, idle_seconds=0.1),
}
NEEDED: Mapping[str, Mapping[str, str]] = {
    "first_poll": {"nginx": "nginx-light"},
    "prometheus": {"nginx": "nginx-light", "prometheus": "prometheus"},
    "scale_out": {"prometheus": "prometheus"},
    "scrape": {"nginx": "nginx-light", "prometheus-pushgateway": "prometheus-pushgateway"},
    "single_gets": {"nginx": "nginx-light"},
}


def bench(name: str) -> ModuleType:
    """A benchmark as a module; they are programs, not a package."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(400)  # one of them starts five exporters at once
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_its_tables(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed, package in NEEDED.get(name, {}).items():
        debian_program(needed, package)
    monkeypatch.setenv("PYTHONPATH", str(BENCH.parent))

    SMALL[name](bench(name))

    printed = capfd.readouterr().out.splitlines()
    rows = [line for line in printed if line.startswith("| ")]
    tables = sum(line.startswith("|---") for line in printed)
    assert tables > 0
    assert len(rows) >= 2 * tables


def test_every_benchmark_is_tested() -> None:
    assert {path.stem for path in BENCH.glob("*.py")} == {
        *SMALL,
        "abuse",
    }  # which has no small size


def test_a_benchmark_names_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(SystemExit, match=r"nginx \(Debian package nginx-light\)"):
        SMALL["scrape"](bench("scrape"))
