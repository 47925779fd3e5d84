"""The command under systemd's protocols, reloaded by signal and by request."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, clean_environment, free_port, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

# What systemd does between fork and exec: the socket becomes descriptor 3, and the variables name the new process.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "exporter", *sys.argv[2:]])
"""
RELOADS = 200
SERVERS_THAT_LEFT = RELOADS // 4


class Manager:
    """Receives the notifications that systemd would get."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(60)

    def until(self, wanted: str) -> list[str]:
        """Return the notifications up to and including this one."""
        received: list[str] = []
        end = time.monotonic() + 60
        while wanted not in received:
            assert time.monotonic() < end, received
            received += self._socket.recv(4096).decode().split("\n")
        return received

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@contextmanager
def activated(
    arguments: list[str], log: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The exporter on a listening socket that it is handed over."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(listener.fileno()), *arguments],
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
            env=clean_environment(**variables),
        ) as process,
    ):
        try:
            yield process, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.kill()


def test_systemd_passes_the_socket_and_is_notified_of_start_watchdog_reload_and_stop(
    tmp_path: Path, manager: Manager
) -> None:
    config = tmp_path / "config.yaml"
    with Simulator() as simulator:
        config.write_text(f"poll_interval: 1s\nservers:{server_yaml(simulator)}")
        arguments = [f"--config.file={config}", "--web.systemd-socket"]
        with activated(
            arguments,
            tmp_path / "log",
            NOTIFY_SOCKET=str(manager.path),
            WATCHDOG_USEC="1000000",
        ) as (process, url):
            manager.until("READY=1")
            assert requests.get(f"{url}/metrics", timeout=30).status_code == 200
            manager.until("STATUS=polling 1 server")
            manager.until("WATCHDOG=1")
            manager.until("WATCHDOG=1")

            process.send_signal(signal.SIGHUP)
            manager.until("RELOADING=1")
            manager.until("READY=1")

            valid = config.read_text()
            config.write_text(valid.replace("1s", "soon", 1))
            process.send_signal(signal.SIGHUP)
            manager.until(
                "STATUS=polling 1 server; last reload failed: "
                "poll_interval: must be a duration such as 30s, 5m, 1h30m or 7d"
            )
            config.write_text(valid)
            process.send_signal(signal.SIGHUP)
            manager.until("STATUS=polling 1 server")

            simulator.faults.set("status_503")
            manager.until("STATUS=polling 1 server; failing: hq (server_error)")

            process.send_signal(signal.SIGTERM)
            manager.until("STOPPING=1")
            assert process.wait(60) == 0


def test_without_a_socket_from_systemd_the_exporter_reports_it_and_does_not_start(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("servers: [{url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]")
    ran = subprocess.run(
        [*EXPORTER, f"--config.file={config}", "--web.systemd-socket"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ran.returncode == 1
    assert "is the socket unit started?" in ran.stderr


# Sends a signal to itself at the moment at which a module is imported: the first, or the last of the program's own.
SIGNALLED = """
import importlib.abc, runpy, signal, sys

class Signalling(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            sys.meta_path.remove(self)
            for number in numbers:
                signal.raise_signal(number)

module, numbers = sys.argv.pop(1), [signal.Signals[name] for name in sys.argv.pop(1).split(",")]
for number in numbers:
    signal.signal(number, signal.SIG_DFL)  # a job in the background ignores SIGINT
sys.meta_path.insert(0, Signalling())
sys.argv[0] = "exporter"
runpy.run_module("exporter", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["exporter.cli", "exporter.commands.serve", "exporter.web.tls"])
@pytest.mark.parametrize(
    ("signals", "command", "status"),
    [
        ("SIGTERM", (), 0),
        ("SIGINT", (), 0),
        ("SIGHUP,SIGTERM", (), 0),
        ("SIGTERM", ("--once",), 1),
    ],
)
def test_a_signal_while_the_program_is_imported_stops_it_in_order(
    tmp_path: Path, module: str, signals: str, command: tuple[str, ...], status: int
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("servers: [{url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]")
    address = f"--web.listen-address=127.0.0.1:{free_port()}"
    ran = subprocess.run(
        [
            *(sys.executable, "-c", SIGNALLED, module, signals),
            *(f"--config.file={config}", address, *command),
        ],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr


def test_sigterm_does_not_wait_behind_reloads(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("servers: [{url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]")
    address, log = f"127.0.0.1:{free_port()}", tmp_path / "log"
    command = [*EXPORTER, f"--config.file={config}", f"--web.listen-address={address}"]
    with running_process(command, log) as process:
        wait_until(lambda: "msg=started" in log.read_text(), "the start")
        for _ in range(300):
            process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    # Otherwise each of them had been executed before.
    assert log.read_text().count('msg="configuration reloaded"') < 300


# Holds a lease on a file as Samba and NFS servers do: the kernel makes other processes wait up to 45 s to open the file.
LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
signal.pause()
"""


def test_a_file_that_does_not_answer_is_reported_and_delays_neither_supervision_nor_the_stop(
    tmp_path: Path, manager: Manager
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("servers: [{url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]")
    arguments = [f"--config.file={config}", "--web.systemd-socket"]
    variables = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000"}
    with activated(arguments, tmp_path / "log", **variables) as (process, _):
        manager.until("READY=1")
        lease = [sys.executable, "-c", LEASE, str(config)]
        with subprocess.Popen(lease, stdout=subprocess.PIPE) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == b"held\n"
                process.send_signal(signal.SIGHUP)
                manager.until("RELOADING=1")
                manager.until(
                    "STATUS=polling 1 server; failing: 127.0.0.1 (connect);"
                    " reload does not end: reading the configuration"
                )
                manager.until("WATCHDOG=1")
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0  # long before the kernel breaks the lease
            finally:
                holder.kill()


# A resolver that never returns to threads of this name, as none can be interrupted.
HANGING_RESOLVER = """
import socket, sys, threading
from exporter.cli import main

resolve, prefix = socket.getaddrinfo, sys.argv.pop(1)

def hang(*arguments, **options):
    if threading.current_thread().name.startswith(prefix):
        print("resolving", file=sys.stderr, flush=True)
        threading.Event().wait()
    return resolve(*arguments, **options)

socket.getaddrinfo = hang
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("thread", "arguments", "status"),
    [
        ("poll-", [], 0),
        ("get-", [], 0),
        ("get-", ["--once"], 1),
        ("list-", ["--list-sessions"], 1),
    ],
)
def test_a_signal_ends_the_process_while_names_are_being_resolved(
    tmp_path: Path, thread: str, arguments: list[str], status: int
) -> None:
    log = tmp_path / "log"
    with Simulator(World(activity=False)) as simulator:
        # While a session is on its way, the next one needs another connection.
        simulator.faults.set("slower_than_timeout", route="get", value=0.5)
        ids = [session.id for session in simulator.world.sessions()[:3]]
        extra = f"sessions: {{ids: {json.dumps(ids)}}}"
        config = write_config(tmp_path, server_yaml(simulator, extra=extra))
        listen = [] if arguments else [f"--web.listen-address=127.0.0.1:{free_port()}"]
        command = [sys.executable, "-c", HANGING_RESOLVER, thread, f"--config.file={config}"]
        with running_process([*command, *arguments, *listen], log) as process:
            wait_until(lambda: "resolving" in log.read_text(), "a thread resolves a name")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == status


class Scraper(threading.Thread):
    """Scrapes continuously and records failures."""

    def __init__(self, url: str) -> None:
        super().__init__(name="scraper")
        self.scrapes = 0
        self.failures: list[str] = []
        self.done = threading.Event()
        self._url = url

    def run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self.done.is_set():
                try:
                    answer = session.get(f"{self._url}/metrics", timeout=30)
                except requests.RequestException as error:
                    self.failures.append(str(error))
                    continue
                self.scrapes += 1
                if answer.status_code != 200 or 'vb365_up{server="hq"} 1.0' not in answer.text:
                    self.failures.append(f"{answer.status_code}: {answer.text[:200]}")


def resources(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Threads and open descriptors of a process."""
    directory = Path("/proc", str(process.pid))
    threads, descriptors = (len(list((directory / what).iterdir())) for what in ("task", "fd"))
    return threads, descriptors


def test_two_hundred_reloads_lose_no_scrape_and_leak_nothing(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("threads and descriptors are counted in /proc")
    config = tmp_path / "config.yaml"
    url = f"http://127.0.0.1:{free_port()}"
    # Without single requests for sessions the number of threads is deterministic.
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    with Simulator(world) as simulator:
        good = f"poll_interval: 1s\nservers:{server_yaml(simulator)}"
        # Every other good one brings a second server, and the next one takes it away again.
        contents = [good, good + server_yaml(simulator, "branch"), good, good + "  - broken"]
        config.write_text(good)
        command = [
            *EXPORTER,
            f"--config.file={config}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--web.enable-lifecycle",
        ]
        with running_process(command, tmp_path / "log") as process, requests.Session() as session:
            session.trust_env = False

            def sample(series: str) -> float | None:
                try:
                    text = session.get(f"{url}/metrics", timeout=30).text
                except requests.ConnectionError:
                    return None
                found = re.search(rf"^{re.escape(series)} (.+)$", text, re.MULTILINE)
                return float(found[1]) if found else None

            def settle() -> None:
                """Wait for a poll, which opens again what a reload has closed."""
                polls = sample('vb365_polls_total{server="hq"}') or 0
                wait_until(
                    lambda: (sample('vb365_polls_total{server="hq"}') or 0) >= polls + 2,
                    "two polls",
                )

            def reload(number: int) -> tuple[int, bool]:
                config.write_text(contents[number % 4])
                answer = session.post(f"{url}/-/reload", timeout=30)
                success = sample("vb365_exporter_config_last_reload_successful")
                return answer.status_code, success == 1

            wait_until(lambda: sample('vb365_up{server="hq"}') == 1, "the first poll")
            scraper = Scraper(url)
            scraper.start()
            try:
                for number in range(5):
                    reload(number)
                settle()
                before = resources(process)
                answers = [reload(number) for number in range(RELOADS)]
                config.write_text(good)
                process.send_signal(signal.SIGHUP)
                settle()
            finally:
                scraper.done.set()
                scraper.join()

            assert answers == [(200, True), (200, True), (200, True), (500, False)] * 50
            assert scraper.failures == []
            assert scraper.scrapes > RELOADS
            # Fifty servers came and went. The web server's pool for reloads may have grown by a few threads since.
            wait_until(
                lambda: all(
                    now < then + SERVERS_THAT_LEFT // 5
                    for now, then in zip(resources(process), before, strict=True)
                ),
                f"hardly more threads and descriptors than {before}",
            )
