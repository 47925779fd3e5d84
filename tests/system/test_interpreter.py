from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# As hostile responses do it: one large block, then large bodies in small blocks, in several threads at once.
PROGRAM = """
import re, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from exporter.system.interpreter import trim_freed_memory

def resident_mib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def read_a_body(_):
    together.wait()
    parts = [bytes(1 << 16) for _ in range(256)]
    together.wait()
    del parts

trim_freed_memory()
before = resident_mib()
for _ in range(2):
    bytearray(20 << 20)
together = threading.Barrier(4)
with ThreadPoolExecutor(4) as workers:
    list(workers.map(read_a_body, range(4)))
    print(resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_several_threads_have_freed_returns_to_the_system() -> None:
    grown_mib = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert float(grown_mib.stdout) < 16


# Like the threads of hundreds of servers, the object would take seconds to destroy.
EXITING = """
import atexit, os
from exporter.system.interpreter import exit_without_teardown

class Destroyed:
    def __del__(self, write=os.write):
        write(1, b"object destroyed\\n")

kept = Destroyed()
atexit.register(print, "exit function called")
exit_without_teardown(3)
"""


def test_the_process_ends_without_destroying_its_objects() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", EXITING], capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout) == (3, "exit function called\n")


# An object that is still alive at the end of the command.
COMMAND = """
import os, runpy, sys

class Destroyed:
    def __del__(self, write=os.write):
        write(1, b"object destroyed\\n")

sys.kept = Destroyed()
sys.argv = ["exporter", "--config.check", "--config.file=missing.yaml"]
runpy.run_module("exporter", run_name="__main__", alter_sys=True)
"""


def test_the_command_ends_without_destroying_its_objects() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", COMMAND], capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "missing.yaml" in ran.stderr
