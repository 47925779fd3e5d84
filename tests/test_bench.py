"""The benchmarks still run, in the small: what they measure here means nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.programs import program

BENCH = Path(__file__).parent / "bench"
SMALL: Mapping[str, dict[str, Any]] = {
    "render": {"sizes": (30,), "rounds": 1},
    "publish": {"sizes": (30, 300), "servers": (1, 2), "rounds": 2},
    "memory": {"sizes": (30,), "settle_seconds": 0, "later_seconds": 0},
    "start": {"sizes": (30,), "rounds": 1, "idle_seconds": 0.1},
    "scrape": {
        "sizes": (30,),
        "compared": (30,),
        "pressed": (5, 30),
        "scrapes": 3,
        "rounds": 1,
        "seconds": 0.2,
    },
    "prometheus": {"sizes": (30,), "scrapes": 2, "interval_seconds": 1},
}
NEEDED: Mapping[str, Mapping[str, str]] = {
    "scrape": {"nginx": "nginx-light", "prometheus-pushgateway": "prometheus-pushgateway"},
    "prometheus": {"nginx": "nginx-light", "prometheus": "prometheus"},
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


@pytest.mark.e2e
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_its_tables(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed, package in NEEDED.get(name, {}).items():
        program(needed, package)
    monkeypatch.setenv("PYTHONPATH", str(BENCH.parent))

    bench(name).main(**SMALL[name])

    printed = capfd.readouterr().out.splitlines()
    rows = [line for line in printed if line.startswith("| ")]
    tables = sum(line.startswith("|---") for line in printed)
    assert tables > 0
    assert len(rows) >= 2 * tables


def test_a_benchmark_says_which_programs_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(SystemExit, match=r"nginx \(Debian package nginx-light\)"):
        bench("scrape").main(**SMALL["scrape"])
