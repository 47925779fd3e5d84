from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import (
    AuthConfig,
    Config,
    SecretSource,
    ServerConfig,
    SessionsConfig,
    TLSConfig,
    load_config,
)
from support.config_texts import MINIMAL, server_with

ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"

Load = Callable[..., Config]


def test_the_smallest_file_has_every_default(load: Load) -> None:
    expected = Config(
        poll_interval=60.0,
        stale_after=180.0,
        info_labels=(),
        servers=(
            ServerConfig(
                name="vb365.example.com",
                url="https://vb365.example.com:4443",
                api_version="auto",
                poll_interval=60.0,
                stale_after=180.0,
                auth=AuthConfig(username="u", password=SecretSource(value="p")),
                tls_config=TLSConfig(
                    ca_file=None,
                    cert_file=None,
                    key_file=None,
                    server_name=None,
                    insecure_skip_verify=False,
                ),
                proxy_url=None,
                proxy_from_environment=False,
                timeout=10.0,
                max_concurrent_requests=8,
                change_feed="auto",
                sessions=SessionsConfig(
                    ids=(),
                    discover=True,
                    lookback=604_800.0,
                    max_series=1_000,
                    max_sessions=200_000,
                    extras=(),
                ),
            ),
        ),
    )

    assert load(MINIMAL) == expected


def test_every_key_reaches_the_configuration_in_force(load: Load) -> None:
    config = load(
        f"""
poll_interval: 30s
stale_after: 10m
info_labels: [name, reason]
servers:
  - name: hq
    url: https://vb365.example.com:4443
    api_version: v8
    poll_interval: 1m30s
    auth: {{token: abc}}
    tls_config:
      server_name: VB365.internal
      insecure_skip_verify: true
    proxy_url: http://proxy.example.com:3128
    timeout: 500ms
    max_concurrent_requests: 2
    change_feed: never
    sessions:
      ids: [{ID}]
      discover: true
      lookback: 1d
      max_series: 0
      max_sessions: 1
      extras: [events, statistics]
"""
    )

    server = config.servers[0]
    assert (
        config.poll_interval,
        config.stale_after,
        config.info_labels,
    ) == (30.0, 600.0, ("name", "reason"))
    assert (
        server.name,
        server.api_version,
        server.poll_interval,
        server.stale_after,
    ) == ("hq", "v8", 90.0, 600.0)
    assert (
        server.auth.kind,
        server.auth.username,
        server.auth.secret.read(),
    ) == ("token", None, "abc")
    assert server.tls_config == TLSConfig(server_name="vb365.internal", insecure_skip_verify=True)
    assert server.proxy_url is not None
    assert server.proxy_url.reveal() == "http://proxy.example.com:3128"
    assert (server.timeout, server.max_concurrent_requests, server.change_feed) == (0.5, 2, "never")
    assert server.sessions == SessionsConfig(
        ids=(ID,),
        discover=True,
        lookback=86_400.0,
        max_series=0,
        max_sessions=1,
        extras=("events", "statistics"),
    )


def test_a_server_polls_at_the_global_interval_unless_it_has_its_own(load: Load) -> None:
    config = load(
        """
poll_interval: 10s
servers:
  - {url: https://a, auth: {username: u, password: p}}
  - {url: https://b, auth: {username: u, password: p}, poll_interval: 5m}
"""
    )

    assert [server.poll_interval for server in config.servers] == [10.0, 300.0]


def test_data_is_stale_after_three_polls_of_its_own_server_but_not_before_three_minutes(
    load: Load,
) -> None:
    config = load(
        """
servers:
  - {url: https://a, auth: {username: u, password: p}}
  - {url: https://b, auth: {username: u, password: p}, poll_interval: 5m}
"""
    )

    assert config.stale_after == 180.0
    assert [server.stale_after for server in config.servers] == [180.0, 900.0]


def test_a_given_stale_after_applies_to_every_server(load: Load) -> None:
    config = load(server_with("poll_interval: 10s", top="stale_after: 11s"))

    assert (config.stale_after, config.servers[0].stale_after) == (11.0, 11.0)


@pytest.mark.parametrize(
    ("sessions", "ids", "discover"),
    [
        ("{}", (), True),
        ("", (), True),
        ("{ids: []}", (), True),
        ("{ids: }", (), True),
        (f"{{ids: [{ID}]}}", (ID,), False),
        (f"{{ids: [{ID}], discover: true}}", (ID,), True),
        (f"{{ids: [{ID.upper()}, {ID}], discover: false}}", (ID,), False),
    ],
)
def test_sessions_are_discovered_by_default_when_no_ids_are_given(
    load: Load, sessions: str, ids: tuple[str, ...], *, discover: bool
) -> None:
    followed = load(server_with(f"sessions: {sessions}")).servers[0].sessions

    assert (followed.ids, followed.discover) == (ids, discover)


@pytest.mark.parametrize(
    ("written", "url", "name"),
    [
        ("https://vb365.example.com", "https://vb365.example.com", "vb365.example.com"),
        ("HTTPS://VB365.Example.COM:4443/", "https://vb365.example.com:4443", "vb365.example.com"),
        ("https://vb365/Veeam/Api/", "https://vb365/Veeam/Api", "vb365"),
        ("https://192.0.2.7:4443", "https://192.0.2.7:4443", "192.0.2.7"),
        ("https://[2001:DB8::1]:4443", "https://[2001:db8::1]:4443", "2001:db8::1"),
    ],
)
def test_the_url_loses_its_slash_and_gives_the_name(
    load: Load, written: str, url: str, name: str
) -> None:
    server = load(MINIMAL.replace("https://vb365.example.com:4443", f"'{written}'")).servers[0]

    assert (server.url, server.name) == (url, name)


def test_servers_may_share_a_block_by_alias_and_merge(load: Load) -> None:
    config = load(
        """
servers:
  - &hq {name: a, url: https://vb365, auth: &login {username: u, password: p}, timeout: 3s}
  - {<<: *hq, name: b, timeout: 4s}
  - {name: c, url: https://vb365, auth: *login}
"""
    )

    assert [(s.name, s.timeout) for s in config.servers] == [("a", 3.0), ("b", 4.0), ("c", 10.0)]


def test_relative_files_are_looked_up_in_the_credentials_directory_then_beside_the_file(
    tmp_path: Path,
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "in-both").write_text("from credentials")
    (tmp_path / "in-both").write_text("from beside")
    (tmp_path / "beside").write_text("from beside")
    (tmp_path / "config.yaml").write_text(
        """
servers:
  - {url: https://a, auth: {username: u, password_file: in-both}}
  - {url: https://b, auth: {username: u, password_file: beside}}
"""
    )

    config = load_config(
        tmp_path / "config.yaml", environ={"CREDENTIALS_DIRECTORY": str(credentials)}
    )

    assert [server.auth.secret.read() for server in config.servers] == [
        "from credentials",
        "from beside",
    ]
    assert [server.auth.secret.file for server in config.servers] == [
        credentials / "in-both",
        tmp_path / "beside",
    ]


def test_relative_files_do_not_depend_on_a_later_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/config.yaml").write_text(MINIMAL.replace("password: p", "password_file: pw"))
    (tmp_path / "etc/pw").write_text("secret")
    monkeypatch.chdir(tmp_path)

    config = load_config(Path("etc/config.yaml"), environ={})
    monkeypatch.chdir("/")

    assert config.servers[0].auth.secret.read() == "secret"
