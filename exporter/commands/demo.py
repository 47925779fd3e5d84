"""`--demo`: the exporter with a simulated VB365 inside, for a first look without a server or a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.config import Config, parse_config
from exporter.simulator import Simulator

__all__ = ["demo_config", "introduction"]

# The simulated server's certificate is verified like a real one's: the demo shows the configuration a user will write.
_CONFIGURATION = """\
poll_interval: 2s
servers:
  - name: demo
    url: {url}
    auth:
      username: {username}
      password: {password}
    tls_config:
      ca_file: {ca_file}
    sessions:
      extras: [statistics, events]
"""


@contextmanager
def demo_config() -> Iterator[Config]:
    """Run a simulator on loopback and give the configuration for it."""
    with Simulator() as simulator:
        yield parse_config(
            _CONFIGURATION.format(
                url=simulator.url,
                username=simulator.username,
                password=simulator.password,
                ca_file=simulator.ca_file,
            ),
            directory=Path.cwd(),
            name="demo",
        )


def introduction(url: str, telemetry_path: str, config: Config) -> str:
    """What there is to open, for a person.

    Args:
        url: where the exporter answers.
        telemetry_path: where the metrics are.
        config: the one in force.
    """
    return (
        "The demo polls a simulated VB365 every 2 s; restore sessions start, run and end while you watch.\n"
        f"  metrics          {url}{telemetry_path}\n"
        f"  status page      {url}/\n"
        f"  simulated VB365  {config.servers[0].url}\n"
        "Ctrl-C ends it.\n"
    )
