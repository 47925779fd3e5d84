"""What is more than the exporter takes is left out, and to be seen as left out."""

from __future__ import annotations

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_fast_polling import sessions, watched
from support.exporter_harness import server_yaml
from support.waiting import wait_until


def test_sessions_over_max_sessions_and_max_series_are_left_out_and_counted() -> None:
    world = World(sessions=40, activity=False)
    running = sum(session.state == "Working" for session in world.sessions())
    listed = len(world.sessions())
    with (
        Simulator(world) as simulator,
        watched(
            server_yaml(
                simulator, extra="sessions: {max_sessions: 15, max_series: 10, lookback: 90d}"
            )
        ) as exporter,
    ):
        wait_until(lambda: exporter.up("hq"), "a poll")
        for _ in range(2):
            assert exporter.value('vb365_sessions_known{server="hq"}') == 15
            assert exporter.value('vb365_sessions_without_series{server="hq"}') == 5
            assert exporter.value('vb365_sessions_not_kept{server="hq"}') == listed - 15
            states = [
                line
                for line in sessions(exporter.lines("hq"))
                if line.startswith("vb365_restore_session_state{") and line.endswith(" 1.0")
            ]
            assert len(states) == 10
            assert sum('state="Working"' in line for line in states) == running
            exporter.wait_for_polls("hq", 2)


def test_long_names_are_cut_at_512_characters_and_invalid_characters_are_replaced() -> None:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    world.add_session(organization="\x00" + 600 * "ü")
    with (
        Simulator(world) as simulator,
        watched(server_yaml(simulator)) as exporter,
    ):
        wait_until(lambda: exporter.up("hq"), "a poll")

        shown = f'organization="\N{REPLACEMENT CHARACTER}{511 * "ü"}",'
        lines = [line for line in exporter.lines("hq") if "ü" in line]
        assert lines
        assert all(shown in line for line in lines)
