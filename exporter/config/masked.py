"""The configuration in force as YAML that may be shown: every secret masked."""

from __future__ import annotations

import yaml

from exporter.config.durations import format_duration
from exporter.config.model import AuthConfig, Config, ServerConfig
from exporter.config.secrets import MASK

__all__ = ["masked_yaml"]


def masked_yaml(config: Config) -> str:
    """Keys as in the file, in its order, with defaults; what is not set is left out.

    A server shows its own `stale_after` where the default for its poll interval differs from the
    global one, although the file has no such key.
    """
    shown = {
        "poll_interval": format_duration(config.poll_interval),
        "stale_after": format_duration(config.stale_after),
        "info_labels": list(config.info_labels),
        "servers": [_server(server, config.stale_after) for server in config.servers],
    }
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=2**16)


def _server(server: ServerConfig, global_stale_after: float) -> dict[str, object]:
    shown: dict[str, object] = server.model_dump(mode="json", exclude_none=True)
    for key in ("poll_interval", "stale_after", "timeout"):
        shown[key] = format_duration(getattr(server, key))
    if server.stale_after == global_stale_after:
        del shown["stale_after"]
    shown["auth"] = _auth(server.auth)
    sessions = server.sessions.model_dump(mode="json")
    shown["sessions"] = sessions | {"lookback": format_duration(server.sessions.lookback)}
    return shown


def _auth(auth: AuthConfig) -> dict[str, object]:
    secret = auth.secret
    shown: dict[str, object] = {} if auth.username is None else {"username": auth.username}
    if secret.file is not None:
        return shown | {f"{auth.kind}_file": str(secret.file)}
    if secret.env is not None:
        return shown | {f"{auth.kind}_env": secret.env}
    return shown | {auth.kind: MASK}
