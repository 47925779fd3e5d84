"""`--demo`: run the exporter against a built-in simulated VB365; no server or configuration needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.config import Config, parse_config
from exporter.simulator import Simulator

__all__ = ["banner", "demo_config"]

# The simulator's certificate is verified like a real one, so the demo uses the configuration a user would write.
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
    """Run a simulator on a loopback address and yield the configuration for it."""
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


def banner(url: str, telemetry_path: str, config: Config) -> str:
    """Return the text that lists the demo's URLs.

    Args:
        url: the exporter's base URL.
        telemetry_path: the path of the metrics.
        config: the active configuration.
    """
    return (
        "The demo polls a simulated VB365 every 2 s; restore sessions start, run and end as you watch.\n"
        f"  metrics          {url}{telemetry_path}\n"
        f"  status page      {url}/\n"
        f"  simulated VB365  {config.servers[0].url}\n"
        "Press Ctrl-C to stop.\n"
    )
