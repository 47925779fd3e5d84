"""Assigns servers to instances (`--shard`, `--total-shards`)."""

from __future__ import annotations

from hashlib import blake2b

from exporter.config.model import Config


def shard_for(server: str, total_shards: int) -> int:
    """Return the shard that polls a server: the one with the highest score (rendezvous hashing).

    A score depends only on the shard and the name. An additional shard therefore takes over just the
    servers for which it scores highest, and no other server moves. Scores are the same on every
    machine and in every version.
    """
    return max(range(total_shards), key=lambda shard: _score(shard, server))


def select_shard(config: Config, shard: int, total_shards: int) -> Config:
    """Return the configuration with the servers of this shard only; there may be none."""
    mine = tuple(
        server for server in config.servers if shard_for(server.name, total_shards) == shard
    )
    return config.model_copy(update={"servers": mine})


def _score(shard: int, server: str) -> bytes:
    return blake2b(f"{shard} {server}".encode(), digest_size=16).digest()
