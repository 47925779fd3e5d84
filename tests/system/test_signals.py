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

        assert commands.get(5) is command


def test_signals_to_reload_that_are_pending_are_one_reload() -> None:
    with signal_commands() as commands:
        for _ in range(300):
            signal.raise_signal(signal.SIGHUP)

        assert [commands.get(0), commands.get(0)] == [Command.RELOAD, None]


def test_a_signal_to_reload_during_a_reload_is_another_reload() -> None:
    with signal_commands() as commands:
        signal.raise_signal(signal.SIGHUP)
        assert commands.get(5) is Command.RELOAD
        signal.raise_signal(signal.SIGHUP)

        assert commands.get(5) is Command.RELOAD


def test_a_signal_to_stop_precedes_pending_reloads() -> None:
    with signal_commands() as commands:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)

        assert commands.get(5) is Command.STOP


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

        assert commands.get(5) is Command.STOP


HELD = """
import os, signal, sys
from exporter.system.signals import hold_signals, signal_commands, stop_event
hold_signals()
{signals}
print("held", flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("signals", "then", "status", "output"),
    [
        ("SIGTERM", "with signal_commands() as one: print(one.get(5))", 0, "Command.STOP"),
        ("SIGINT", "with signal_commands() as one: print(one.get(5))", 0, "Command.STOP"),
        ("SIGHUP", "with signal_commands() as one: print(one.get(0))", 0, "None"),
        ("SIGTERM", "with stop_event() as stop: print(stop.wait(5))", 0, "True"),
        ("SIGHUP", "with stop_event() as stop: print(stop.wait(5))", -signal.SIGHUP, None),
        ("SIGHUP", "signal.raise_signal(signal.SIGHUP); print('ignored')", 0, "ignored"),
        ("SIGTERM", "signal.raise_signal(signal.SIGTERM)", 128 + signal.SIGTERM, None),
        ("SIGINT", "signal.raise_signal(signal.SIGTERM)", 128 + signal.SIGTERM, None),
        ("SIGHUP", "signal.raise_signal(signal.SIGTERM); print('held')", 0, "held"),
    ],
)
def test_a_signal_held_back_during_the_start_is_handled_by_the_command(
    signals: str, then: str, status: int, output: str | None
) -> None:
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)" + HELD.format(
        signals=f"signal.raise_signal(signal.{signals})", then=then
    )  # nohup ignores it
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )

    assert (ran.returncode, ran.stderr) == (status, "")
    assert ran.stdout.split() == ["held", *([output] if output else [])]


def test_an_ignored_signal_stays_ignored_during_the_start() -> None:
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + HELD.format(
        signals="", then="print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert ran.stdout.split() == ["held", "True"]
