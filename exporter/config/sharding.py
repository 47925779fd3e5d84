"""Which of several instances polls which server (`--shard`, `--total-shards`)."""

from __future__ import annotations

from hashlib import blake2b

from exporter.config import Config

__all__ = ["select_shard", "shard_for"]


def shard_for(server: str, total_shards: int) -> int:
    """The shard that polls the server of this name: the one with the highest score (rendezvous hashing).

    A score depends on nothing but one shard and the name. So a further shard takes over only the servers for which it
    scores highest, one of n, and no other server moves. It is the same on every machine and in every version.
    """
    return max(range(total_shards), key=lambda shard: _score(shard, server))


def select_shard(config: Config, shard: int, total_shards: int) -> Config:
    """The configuration with no servers but those of this shard; there may be none."""
    mine = tuple(
        server for server in config.servers if shard_for(server.name, total_shards) == shard
    )
    return config.model_copy(update={"servers": mine})


def _score(shard: int, server: str) -> bytes:
    return blake2b(f"{shard} {server}".encode(), digest_size=16).digest()
