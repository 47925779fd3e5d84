"""Which flags do not go together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from exporter.flags.rows import FLAGS, Options

__all__ = ["conflict"]

# Each of these does something and exits; without any of them the exporter serves.
_COMMANDS = ("config_check", "once", "list_sessions")


def conflict(options: Options, origins: Mapping[str, str]) -> str | None:
    """What is wrong with the flags taken together, in words; None when they go together.

    Args:
        options: all of them.
        origins: for the attributes that were given, where: `--once`, or its environment variable.
    """
    for one, other in (*combinations(_COMMANDS, 2), ("config_check", "demo")):
        if getattr(options, one) and getattr(options, other):
            return f"{origins[one]} and {origins[other]} cannot be given together"
    if options.output_file is not None and not options.once:
        return f"{origins['output_file']} is for --once, which is not given"
    if options.once and options.output_file is None and options.audit_log_file == Path("-"):
        return f"{origins['audit_log_file']} and {origins['once']} both write to standard output"
    if options.shard >= options.total_shards:
        shard = origins.get("shard", _NAMES["shard"])
        total_shards = origins.get("total_shards", _NAMES["total_shards"])
        return (
            f"{shard} ({options.shard}) must be lower than {total_shards} ({options.total_shards})"
        )
    if options.demo and options.total_shards > 1:
        return f"{origins['demo']} and {origins['total_shards']} cannot be given together"
    return None


_NAMES = {flag.attribute: flag.name for flag in FLAGS}
