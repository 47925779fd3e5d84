from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from exporter.config import Config, masked_yaml
from support.config_texts import MINIMAL

Load = Callable[..., Config]


def test_the_configuration_cannot_be_changed(load: Load) -> None:
    config = load(MINIMAL)

    with pytest.raises(ValidationError, match="frozen"):
        config.poll_interval = 1.0  # type: ignore[misc]  # that it fails is the point
    assert hash(config) == hash(load(MINIMAL))


def test_the_shown_configuration_has_durations_as_written_and_every_default(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("abc")
    config = load(
        """
info_labels: [name]
servers:
  - name: hq
    url: https://a
    poll_interval: 5m
    auth: {username: u, password: hunter2}
    proxy_url: http://user:hunter2@proxy:3128
  - name: b
    url: https://b
    auth: {token_file: token}
    tls_config: {server_name: c}
  - name: c
    url: https://c
    auth: {token_env: TOKEN}
""",
        environ={"TOKEN": "hunter2"},
    )

    rest = {
        "tls_config": {"insecure_skip_verify": False},
        "proxy_from_environment": False,
        "timeout": "10s",
        "max_concurrent_requests": 8,
        "change_feed": "auto",
        "sessions": {
            "ids": [],
            "discover": True,
            "lookback": "7d",
            "max_series": 1000,
            "max_sessions": 200000,
            "extras": [],
        },
    }
    expected = {
        "poll_interval": "1m",
        "stale_after": "3m",
        "info_labels": ["name"],
        "servers": [
            {
                "name": "hq",
                "url": "https://a",
                "api_version": "auto",
                "poll_interval": "5m",
                "stale_after": "15m",
                "auth": {"username": "u", "password": "<secret>"},
                "proxy_url": "http://<secret>@proxy:3128",
            }
            | rest,
            {
                "name": "b",
                "url": "https://b",
                "api_version": "auto",
                "poll_interval": "1m",
                "auth": {"token_file": str(tmp_path / "token")},
            }
            | rest
            | {"tls_config": {"server_name": "c", "insecure_skip_verify": False}},
            {
                "name": "c",
                "url": "https://c",
                "api_version": "auto",
                "poll_interval": "1m",
                "auth": {"token_env": "TOKEN"},
            }
            | rest,
        ],
    }
    shown = masked_yaml(config)
    assert yaml.safe_load(shown) == expected
    assert list(yaml.safe_load(shown)) == ["poll_interval", "stale_after", "info_labels", "servers"]


def test_the_shown_configuration_can_be_loaded_again(load: Load) -> None:
    config = load(MINIMAL)

    again = load(masked_yaml(config))

    assert again.model_dump() == config.model_dump()
