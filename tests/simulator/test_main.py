from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
import requests

from exporter.simulator.__main__ import main
from exporter.simulator.faults.catalogue import CATALOGUE

ANYWHERE = ("--web.listen-address", "127.0.0.1:0")


class Output:
    """Collects output and lets a test wait for it."""

    def __init__(self) -> None:
        self.written: Queue[str] = Queue()

    def write(self, text: str) -> None:
        """Take text."""
        self.written.put(text)

    def flush(self) -> None:
        """Nothing is held back."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Return a function that runs the simulator in this process until the test ends and reiterations its output."""
    stop, threads = Event(), list[Thread]()

    def start(*arguments: str) -> str:
        output = Output()
        monkeypatch.setattr(sys, "stdout", output)
        thread = Thread(target=main, args=([*ANYWHERE, *arguments], stop))
        thread.start()
        threads.append(thread)
        return output.written.get(timeout=20)

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)


def url_in(text: str) -> str:
    found = re.search(r"https://\S+:\d+", text)
    assert found is not None
    return found[0]


def test_it_prints_its_url_and_credentials(run: Callable[..., str], tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    text = run("--tls.ca-file", str(ca_file), "--username", "me", "--password", "secret")
    response = requests.post(
        url_in(text) + "/v8/token",
        data={"grant_type": "password", "username": "me", "password": "secret"},
        verify=str(ca_file),
        timeout=10,
    )

    assert response.status_code == 200
    assert "username me, password secret" in text
    assert str(ca_file) in text


def test_the_flags_configure_the_world_and_the_server(
    run: Callable[..., str], tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    text = run(
        *("--tls.ca-file", str(ca_file)),
        *("--seed", "7", "--speed", "100", "--organizations", "2", "--sessions", "20"),
        *("--api-versions", "v6", "--token-style", "core", "--working-end", "null"),
        *("--token-throttle", "--fault", "status_500:get", "--fault", "slow_body:events"),
    )
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca_file)
    login = {"grant_type": "password", "username": "demo", "password": "demo"}
    token = session.post(url_in(text) + "/v6/token", data=login, timeout=10).json()
    throttled = session.post(url_in(text) + "/v6/token", data=login, timeout=10).status_code
    session.headers["Authorization"] = f"Bearer {token['access_token']}"
    records = session.get(url_in(text) + "/v6/RestoreSessions", timeout=10).json()["results"]
    broken = session.get(url_in(text) + "/v6/RestoreSessions/x", timeout=10).status_code
    truth = session.get(url_in(text) + "/_simulator/truth", timeout=10).json()
    faults = session.get(url_in(text) + "/_simulator/faults", timeout=10).json()["faults"]
    unserved = session.get(url_in(text) + "/v8/Health", timeout=10).status_code
    session.close()

    assert "userName" in token
    assert throttled == 429
    assert len(truth["organizations"]) == 3
    assert next(record["endTime"] for record in records if record["state"] == "Working") is None
    assert (broken, unserved) == (500, 404)
    assert [fault["name"] for fault in faults] == ["status_500", "slow_body"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--web.listen-address", "4443"], "'4443' is not of the form host:port"),
        (["--web.listen-address", "x:99999"], "'x:99999' is not of the form host:port"),
        (["--api-versions", "v6,v9"], "unknown API version 'v9'"),
        (["--sessions", "-1"], "-1 is negative"),
        (["--speed", "0"], "0 is not a positive number"),
        (["--tls.cert-file", "x"], "must be given together"),
        (["--tls.cert-file", "x", "--tls.key-file", "x", "--tls.ca-file", "x"], "no authority"),
        (["--fault", "gremlins"], "unknown fault 'gremlins'"),
        (["--fault", "html:nowhere"], "unknown route 'nowhere'"),
        (["--fault", "tls_expired:list"], "tls_expired affects connections"),
        (["--token-style", "saml"], "'saml'"),
        (["--user", "x"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_status_2_and_names_the_value(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)

    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_a_server_that_cannot_start_exits_with_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing" / "ca.pem")

    assert main([*ANYWHERE, "--tls.ca-file", missing]) == 1
    assert missing in capsys.readouterr().err


def test_the_help_lists_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out

    assert [name for name in CATALOGUE if f"\n  {name} " not in text] == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "exporter.simulator", *ANYWHERE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        status = process.wait(20)

    assert first.startswith("VB365 simulator: https://127.0.0.1:")
    assert status == 0
