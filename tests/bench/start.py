"""The startup time of the command, compared with importing the same libraries, and its cost when idle."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from support.benchmark_clients import Scraper
from support.benchmark_figures import (
    interleave,
    median_ratio,
    milliseconds_text,
    print_table,
    ratio_text,
)
from support.exporter_process import polled_exporter
from support.processes import EXPORTER, clean_environment, free_port, running_process

ROUNDS = 15
IDLE_SECONDS = 150.0
_IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)
_IMPORT_ALL = (
    "import contextlib, sys\nfor name in sys.argv[1:]:\n    with contextlib.suppress(ImportError):\n"
    "        __import__(name)  # one is tried that need not be there\n"
    "sys.stdout.write('ready')\nsys.stdout.flush()\nsys.stdin.read()"
)
_CONFIG = """
poll_interval: 1h
servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]
"""


class Starts:
    """Starts processes and measures their startup."""

    def __init__(self, directory: Path) -> None:
        self._config = directory / "config.yaml"
        self._config.write_text(_CONFIG)
        self._log = directory / "log"
        # As after an installation: all bytecode is there, the exporter's own, too. The first start writes it.
        self._environment = {
            "PYTHONPYCACHEPREFIX": str(directory / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self._libraries = self._imported()

    @property
    def libraries(self) -> int:
        """Number of modules other than the exporter's own."""
        return len(self._libraries)

    def first_answer(self, *options: str) -> float:
        """Return the seconds from the start of the command to the complete first response of /metrics."""
        address = f"127.0.0.1:{free_port()}"
        command = [
            *(sys.executable, *options, *EXPORTER[1:]),
            *(f"--config.file={self._config}", f"--web.listen-address={address}"),
        ]
        begun = time.perf_counter()
        with running_process(command, self._log, **self._environment), Scraper(address) as scraper:
            while True:
                with suppress(ConnectionError):
                    scraper.scrape(reconnect=True)
                    return time.perf_counter() - begun
                time.sleep(0.002)

    def imports(self) -> float:
        """Return the seconds from the start of Python until it has imported the libraries."""
        begun = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", _IMPORT_ALL, *self._libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(**self._environment),
        ) as process:
            assert process.stdout is not None
            if process.stdout.read(5) != b"ready":
                raise RuntimeError("the libraries cannot be imported")
            return time.perf_counter() - begun

    def _imported(self) -> list[str]:
        """Return the modules, except the exporter's own, that the command has loaded at its first response."""
        self.first_answer("-X", "importtime")
        names = dict.fromkeys(_IMPORTED.findall(self._log.read_text()))
        return [name for name in names if name.partition(".")[0] != "exporter"]


def start_rows(directory: Path, rounds: int) -> Iterator[tuple[str, ...]]:
    starts = Starts(directory)
    answer, imports = interleave(rounds, starts.first_answer, starts.imports)
    yield (
        str(starts.libraries),
        milliseconds_text(statistics.median(imports)),
        milliseconds_text(statistics.median(answer)),
        ratio_text(median_ratio(answer, imports)),
    )


def idle_rows(sizes: Sequence[int], seconds: float) -> Iterator[tuple[str, ...]]:
    for size in sizes:
        with polled_exporter(size, poll_interval="1m") as exporter:
            time.sleep(min(5.0, seconds))  # the first poll and what follows it is not idling
            before = exporter.processor_seconds()
            time.sleep(seconds)
            used = exporter.processor_seconds() - before
            yield (str(size), f"{seconds:.0f} s", milliseconds_text(used), f"{used / seconds:.2%}")


def main(
    sizes: Sequence[int] = (100, 1000, 10_000, 100_000),
    rounds: int = ROUNDS,
    idle_seconds: float = IDLE_SECONDS,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        print_table(
            "The first answer on /metrics, and a Python that imports the same modules",
            ("modules that are not its own", "importing them", "first answer", "ratio"),
            start_rows(Path(directory), rounds),
        )
    print_table(
        f"Idle with a poll a minute, on one of {os.cpu_count()} cores",
        ("sessions", "over", "processor time", "of one core"),
        idle_rows(sizes, idle_seconds),
    )


if __name__ == "__main__":
    main()
