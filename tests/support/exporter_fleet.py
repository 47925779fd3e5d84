"""Many simulated servers, and sharded exporter processes that poll them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import trustme
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import write_config
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

_UP_WITHIN_SECONDS = 300


@dataclass(frozen=True)
class Fleet:
    """Simulated servers, and the configuration that names them all."""

    simulators: Mapping[str, Simulator]
    config_file: Path

    @property
    def names(self) -> set[str]:
        return set(self.simulators)

    def logins(self) -> dict[str, int]:
        """Return the number of logins at each server since the last call."""
        logins = {}
        for name, simulator in self.simulators.items():
            logins[name] = simulator.requests["POST", "token"]
            simulator.traffic.reset()
        return logins


@dataclass(frozen=True)
class Instance:
    """A running exporter."""

    address: str

    def ready(self) -> bool:
        """Whether the exporter has polled each of its servers."""
        try:
            return requests.get(f"http://{self.address}/-/ready", timeout=30).ok
        except requests.RequestException:
            return False

    def values(self, name: str) -> dict[str, float]:
        """Return the values of a metric by server; the exporter's own metrics have an empty server."""
        text = requests.get(f"http://{self.address}/metrics", timeout=30).text
        return {
            sample.labels.get("server", ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }


@contextmanager
def fleet(servers: int, directory: Path, *, sessions: int, poll_interval: str) -> Iterator[Fleet]:
    """Simulate this many servers, each with this many finished sessions."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    ca_file, cert_file, key_file = (
        directory / name for name in ("ca.pem", "server.crt", "server.key")
    )
    authority.cert_pem.write_to_path(str(ca_file))
    leaf.cert_chain_pems[0].write_to_path(str(cert_file))
    leaf.private_key_pem.write_to_path(str(key_file))
    with ExitStack() as stack:
        simulators = {
            f"vb365-{number:03}": stack.enter_context(
                Simulator(
                    World(seed=number, sessions=sessions, activity=False),
                    cert_file=cert_file,
                    key_file=key_file,
                )
            )
            for number in range(servers)
        }
        listed = "".join(
            f"\n  - {{name: {name}, url: '{simulator.url}', auth: {{username: demo, password: demo}},"
            f" tls_config: {{ca_file: {ca_file}}}}}"
            for name, simulator in simulators.items()
        )
        config_file = write_config(directory, f"{listed}\n", f"poll_interval: {poll_interval}")
        yield Fleet(simulators, config_file)


@contextmanager
def instances(
    servers: Fleet, directory: Path, *, total_shards: int
) -> Iterator[Sequence[Instance]]:
    """Run one exporter per shard; yield when every server is up in one of them."""
    with ExitStack() as stack:
        running = []
        for shard in range(total_shards):
            address = f"127.0.0.1:{free_port()}"
            command = [
                *(
                    *EXPORTER,
                    f"--config.file={servers.config_file}",
                    f"--web.listen-address={address}",
                ),
                *(f"--shard={shard}", f"--total-shards={total_shards}", "--log.level=warn"),
            ]
            log = directory / f"exporter-{shard}-of-{total_shards}.log"
            stack.enter_context(running_process(command, log))
            running.append(Instance(address))
        for instance in running:
            wait_until(instance.ready, f"{instance.address} is ready", _UP_WITHIN_SECONDS)
        wait_until(
            lambda: set().union(*servers_up(running)) == servers.names,
            "all servers are up",
            _UP_WITHIN_SECONDS,
        )
        yield running


def servers_up(running: Sequence[Instance]) -> list[set[str]]:
    """Return the servers that are up in each instance."""
    return [
        {server for server, up in instance.values("vb365_up").items() if up == 1}
        for instance in running
    ]


def moved_servers(
    before: Sequence[set[str]], after: Sequence[set[str]]
) -> dict[str, tuple[int, int]]:
    """Return the servers that changed shards, with the old and the new shard."""
    was = {server: shard for shard, servers in enumerate(before) for server in servers}
    now = {server: shard for shard, servers in enumerate(after) for server in servers}
    return {server: (was[server], now[server]) for server in was if was[server] != now[server]}
