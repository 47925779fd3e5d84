from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import Config
from support.config_texts import MINIMAL, server_with

Load = Callable[..., Config]

ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
ONLY_IDS = "unused: only the sessions under ids are followed, as discover is false"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (MINIMAL, []),
        (server_with("api_version: v6"), []),
        (server_with("api_version: v8\nchange_feed: auto\nsessions: {extras: [statistics]}"), []),
        (server_with("change_feed: auto\nsessions: {extras: [statistics]}"), []),
        (server_with("poll_interval: 5m"), []),
        (server_with("sessions: {discover: true, lookback: 1d, max_series: 7}"), []),
        (
            server_with("api_version: v7\nchange_feed: auto"),
            ["servers[0].change_feed: unused: API v7 has no change feed"],
        ),
        (
            server_with("api_version: v6\nsessions: {extras: [events, statistics]}"),
            ["servers[0].sessions.extras[1]: unused: API v6 has no statistics"],
        ),
        (
            server_with(f"sessions: {{ids: [{ID}], lookback: 1d, max_series: 7, max_sessions: 8}}"),
            [
                f"servers[0].sessions.lookback: {ONLY_IDS}",
                f"servers[0].sessions.max_series: {ONLY_IDS}",
                f"servers[0].sessions.max_sessions: {ONLY_IDS}",
            ],
        ),
        (
            server_with("sessions: {max_series: 0, extras: [events]}"),
            [
                "servers[0].sessions.extras: unused: max_series is 0: no session has series of its own"
            ],
        ),
        (
            server_with(
                f"sessions: {{ids: [{ID}], discover: true, max_series: 0, extras: [events]}}"
            ),
            [],
        ),
        (
            server_with("sessions: {max_series: 7, max_sessions: 6}"),
            ["servers[0].sessions.max_series: shadowed: max_sessions is lower"],
        ),
        (
            server_with(f"sessions: {{ids: [{ID}, {ID.upper()}]}}"),
            ["servers[0].sessions.ids[1]: unused: the same as ids[0]"],
        ),
    ],
)
def test_each_setting_without_effect_is_a_warning(
    load: Load, text: str, warnings: list[str]
) -> None:
    config = load(text)

    assert [str(warning) for warning in config.warnings] == warnings
    assert "warnings" not in config.model_dump()
    assert "unused" not in repr(config)


def test_authorities_are_unused_when_any_certificate_is_trusted(load: Load, ca_file: Path) -> None:
    config = load(server_with(f"tls_config: {{ca_file: {ca_file}, insecure_skip_verify: true}}"))

    assert [str(warning) for warning in config.warnings] == [
        "servers[0].tls_config.ca_file: unused: insecure_skip_verify trusts any certificate"
    ]


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    import trustme  # noqa: PLC0415 - it is slow to import, and needed only here

    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path
