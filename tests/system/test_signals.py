from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from exporter.system.signals import Command, signal_commands, stop_event

STOPPED_TWICE = """
import os, signal, time
from exporter.system.signals import signal_commands
with signal_commands():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
"""


@pytest.mark.parametrize(
    ("number", "wish"),
    [
        (signal.SIGTERM, Command.STOP),
        (signal.SIGINT, Command.STOP),
        (signal.SIGHUP, Command.RELOAD),
    ],
)
def test_a_signal_is_a_wish(number: signal.Signals, wish: Command) -> None:
    with signal_commands() as queue:
        os.kill(os.getpid(), number)

        assert wish is queue.get(timeout=5)


def test_every_wish_to_reload_is_kept() -> None:
    with signal_commands() as queue:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)

        assert [queue.get(timeout=5) for _ in range(3)] == [Command.RELOAD] * 3


def test_the_handlers_from_before_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with signal_commands():
        assert before != signal.getsignal(signal.SIGHUP)
    assert before == signal.getsignal(signal.SIGHUP)


def test_a_second_wish_to_stop_ends_the_process_at_once() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            STOPPED_TWICE,
        ],
        timeout=20,
        check=False,
    )

    assert ended.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_ends_by_itself_is_stopped_by_an_event(number: signal.Signals) -> None:
    with stop_event() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)

        assert stop.wait(5)


def test_what_ends_by_itself_has_nothing_to_reload() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with stop_event():
        assert before == signal.getsignal(signal.SIGHUP)


def test_windows_has_no_signal_to_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    with signal_commands() as queue:
        os.kill(os.getpid(), signal.SIGINT)

        assert Command.STOP is queue.get(timeout=5)
