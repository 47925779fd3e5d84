"""The organizations of a simulated VB365 over real HTTPS."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config import parse_config
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml
from support.single_poller import running_client


@pytest.mark.parametrize("version", ["v6", "v7", "v8"])
def test_the_organizations_of_each_version_are_those_of_the_sessions(version: str) -> None:
    with Simulator(World(activity=False)) as simulator:
        yaml = server_yaml(simulator, extra=f"api_version: {version}")
        config = parse_config(f"servers:{yaml}", directory=Path.cwd())
        with running_client(config.servers[0]) as client:
            organizations = client.organizations()

    names = [one.session_name for one in simulator.world.organizations]
    matches = zip(organizations, names, strict=True)
    assert all(name.casefold() in organization.session_names for organization, name in matches)
