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
    ("number", "command"),
    [
        (signal.SIGTERM, Command.STOP),
        (signal.SIGINT, Command.STOP),
        (signal.SIGHUP, Command.RELOAD),
    ],
)
def test_a_signal_is_a_command(number: signal.Signals, command: Command) -> None:
    with signal_commands() as commands:
        os.kill(os.getpid(), number)

        assert commands.get(timeout=5) is command


def test_every_signal_to_reload_is_queued() -> None:
    with signal_commands() as commands:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)

        assert [commands.get(timeout=5) for _ in range(3)] == [Command.RELOAD] * 3


def test_the_previous_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with signal_commands():
        assert signal.getsignal(signal.SIGHUP) != before
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_second_signal_to_stop_ends_the_process_immediately() -> None:
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
def test_a_signal_sets_the_event_that_stops_a_one_shot_command(number: signal.Signals) -> None:
    with stop_event() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)

        assert stop.wait(5)


def test_a_one_shot_command_does_not_handle_sighup() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with stop_event():
        assert signal.getsignal(signal.SIGHUP) == before


def test_without_sighup_a_signal_still_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    with signal_commands() as commands:
        os.kill(os.getpid(), signal.SIGINT)

        assert commands.get(timeout=5) is Command.STOP
