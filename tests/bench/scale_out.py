"""Servers shared by several instances: distribution, moves when an instance is added, and capacity of one instance.

The servers are simulated, each on its own port; instances and Prometheus are real programs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import exporter.logs
from support.benchmark_figures import print_table
from support.exporter_fleet import Fleet, Instance, fleet, instances, moved_servers, servers_up
from support.prometheus_process import running_prometheus, scrape_configuration
from support.waiting import wait_until

SERVERS = 200
SHARDS = 4
SESSIONS = 50
WATCHED_SECONDS = 60
POLL_SECONDS = 10


def shard_rows(servers: Fleet, directory: Path) -> Iterator[tuple[str, ...]]:
    """Return which instance polls which server; raise if instances, servers and Prometheus disagree."""
    with (
        instances(servers, directory, total_shards=SHARDS) as running,
        running_prometheus(
            scrape_configuration([one.address for one in running]), directory / "prometheus"
        ) as prometheus,
    ):
        before = servers_up(running)
        wait_until(
            lambda: len(prometheus.query("vb365_up == 1")) >= len(servers.names),
            "Prometheus has scraped all",
            300,
        )
        seen = {
            one["metric"]["server"]: int(one["value"][1])
            for one in prometheus.query("count by (server) (vb365_up)")
        }
    expect_each_once(servers, before)
    if servers.logins() != dict.fromkeys(servers.names, 1):
        raise RuntimeError("a server was polled by none or by several")
    if seen != dict.fromkeys(servers.names, 1):
        raise RuntimeError("Prometheus does not see each server once")
    with instances(servers, directory, total_shards=SHARDS + 1) as running:
        after = servers_up(running)
    expect_each_once(servers, after)
    moves = moved_servers(before, after)
    for shard in range(SHARDS + 1):
        yield (
            str(shard),
            str(len(before[shard])) if shard < SHARDS else "",
            str(len(after[shard])),
            str(sum(new == shard for _, new in moves.values())),
            str(sum(old == shard for old, _ in moves.values())),
        )
    yield ("together", *(str(len(servers.names)),) * 2, *(str(len(moves)),) * 2)


def expect_each_once(servers: Fleet, polled: Sequence[set[str]]) -> None:
    """Raise if a server is polled by no instance or by several."""
    if sum(map(len, polled)) != len(servers.names) or set().union(*polled) != servers.names:
        raise RuntimeError("the instances do not share the servers")


def load_row(servers: Fleet, directory: Path, watched_seconds: float) -> tuple[str, ...]:
    """Return the resources of one instance that polls all servers."""
    with instances(servers, directory, total_shards=1) as (instance,):
        time.sleep(POLL_SECONDS)  # the first polls are over, and those after them have spread
        begun, used, polls = time.monotonic(), _processor_seconds(instance), _polls(instance)
        time.sleep(watched_seconds)
        polls = _polls(instance) - polls
        used = _processor_seconds(instance) - used
        seconds = time.monotonic() - begun
        overran = sum(instance.values("vb365_polls_overrun_total").values())
        sessions = sum(instance.values("vb365_sessions_known").values())
        resident = instance.values("process_resident_memory_bytes")[""]
    each = used / polls
    return (
        f"{len(servers.names)}",
        f"{sessions:,.0f}",
        f"{polls / seconds:.1f}",
        f"{used / seconds:.1%}",
        f"{each * 1000:.1f} ms",
        f"{overran:.0f}",
        f"{resident / 2**20:.0f} MiB",
        f"{60 / each * 0.5:,.0f}",
    )


def _processor_seconds(instance: Instance) -> float:
    return instance.values("process_cpu_seconds_total")[""]


def _polls(instance: Instance) -> float:
    return sum(instance.values("vb365_polls_total").values())


def run(number: int, sessions: int, watched_seconds: float) -> None:
    exporter.logs.configure(level="error", log_format="logfmt")
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        with fleet(number, directory, sessions=sessions, poll_interval="15s") as servers:
            print_table(
                f"{number} servers shared by {SHARDS} instances, then by {SHARDS + 1}",
                (
                    *("shard", f"servers of {SHARDS}", f"servers of {SHARDS + 1}"),
                    *("came", "went"),
                ),
                shard_rows(servers, directory),
            )
        with fleet(
            number, directory, sessions=sessions, poll_interval=f"{POLL_SECONDS}s"
        ) as servers:
            print_table(
                f"One instance that polls each server every {POLL_SECONDS} s",
                (
                    *("servers", "sessions", "polls a second", "of one core", "one poll"),
                    *("polls that overran", "memory", "servers at 1m on half a core"),
                ),
                [load_row(servers, directory, watched_seconds)],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=SERVERS)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="of each server")
    parser.add_argument("--watched-seconds", type=float, default=WATCHED_SECONDS)
    options = parser.parse_args()
    run(options.servers, options.sessions, options.watched_seconds)


if __name__ == "__main__":
    main()
