from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Config, parse_config
from exporter.config.sharding import select_shard, shard_for

NAMES = [f"vb365-{number}.example.com" for number in range(2000)]


def config_of(names: list[str], directory: Path) -> Config:
    servers = "".join(
        f"  - {{name: {name}, url: https://a, auth: {{token: t}}}}\n" for name in names
    )
    return parse_config(f"info_labels: [name]\nservers:\n{servers}", directory=directory)


@given(server=st.text(), total_shards=st.integers(1, 1000))
def test_every_name_has_a_shard(server: str, total_shards: int) -> None:
    assert shard_for(server, total_shards) in range(total_shards)


def test_every_server_is_in_exactly_one_shard(tmp_path: Path) -> None:
    config = config_of(NAMES[:200], tmp_path)

    shards = [select_shard(config, shard, 4) for shard in range(4)]

    polled = [server.name for shard in shards for server in shard.servers]
    assert sorted(polled) == sorted(NAMES[:200])
    assert all(shard.servers for shard in shards)


def test_a_shard_keeps_the_order_of_the_servers_and_all_other_settings(tmp_path: Path) -> None:
    config = config_of(NAMES[:20], tmp_path)

    shard = select_shard(config, 1, 3)

    expected = tuple(server for server in config.servers if shard_for(server.name, 3) == 1)
    assert shard == config.model_copy(update={"servers": expected})
    assert select_shard(config, 0, 1) == config


def test_a_fifth_shard_takes_about_a_fifth_of_the_servers_and_moves_no_other() -> None:
    before = {name: shard_for(name, 4) for name in NAMES}
    after = {name: shard_for(name, 5) for name in NAMES}

    moved = [name for name in NAMES if after[name] != before[name]]

    assert {after[name] for name in moved} == {4}
    # Four standard deviations around a fifth; the hash is the same everywhere, so this cannot be flaky.
    assert len(moved) == pytest.approx(400, abs=72)
    for shard in range(4):
        assert sum(before[name] == shard for name in moved) == pytest.approx(100, abs=39)


@pytest.mark.parametrize("total_shards", [2, 4, 10])
def test_shards_are_of_about_the_same_size(total_shards: int) -> None:
    for shard in range(total_shards):
        share = sum(shard_for(name, total_shards) == shard for name in NAMES) / len(NAMES)
        assert share == pytest.approx(1 / total_shards, abs=0.05)


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        ("hq", [0, 2, 2, 2]),
        ("München", [1, 1, 1, 1]),
        ("backup-2", [1, 2, 3, 3]),
        ("f", [0, 0, 3, 4]),
    ],
)
def test_the_shard_of_a_name_is_the_same_in_every_version(name: str, shards: list[int]) -> None:
    # By b2sum -l 128: the shard for which "SHARD NAME" has the highest checksum.
    assert [shard_for(name, total_shards) for total_shards in (2, 3, 4, 5)] == shards
