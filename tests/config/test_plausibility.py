from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from exporter.config import Config, load_config
from support.config_texts import MINIMAL, server_with

Load = Callable[..., Config]

ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
ONLY_IDS = "unused: only the sessions under ids are followed, as discover is false"

NO_VARIABLES = "looks like a variable; variables are not expanded"
QUOTED = "starts and ends with quotes, which are part of the"
DOUBLED = r"has a doubled backslash; YAML reads \\ as one only in double quotes"
ADDED = "has the path of an API version or /swagger; remove it, the exporter adds the version"


def warnings_of(config: Config) -> list[str]:
    return [str(warning).removeprefix("servers[0].") for warning in config.warnings]


@pytest.mark.parametrize(
    ("url", "warnings"),
    [
        ("https://vb365:4443", []),
        ("https://vb365:4443/", []),
        ("https://vb365:9443", []),
        ("https://[fe80::1%25eth0]:4443", []),
        ("https://vb365", ["has no port, so 443 is used; VB365 serves its REST API on 4443"]),
        ("https://vb365:443", ["has port 443; VB365 itself serves its REST API on 4443"]),
        ("https://vb365:4443/v8", [ADDED]),
        ("https://vb365:4443/V7/", [ADDED]),
        ("https://vb365:4443/v8/RestoreSessions", [ADDED]),
        ("https://vb365:4443/swagger/index.html", [ADDED]),
        ("https://vb365:4443/veeam", ["has a path; VB365 itself serves its REST API without one"]),
        ("https://0.0.0.0:4443", ["is an address to listen on, not to connect to"]),
        ("https://[::]:4443", ["is an address to listen on, not to connect to"]),
        ("https://224.0.0.1:4443", ["is a multicast or broadcast address"]),
        ("https://255.255.255.255:4443", ["is a multicast or broadcast address"]),
        (
            "https://[fe80::1]:4443",
            ["is a link-local address, which needs its zone, such as [fe80::1%25eth0]"],
        ),
    ],
)
def test_a_url_that_no_server_has_is_a_warning(load: Load, url: str, warnings: list[str]) -> None:
    config = load(MINIMAL.replace("https://vb365.example.com:4443", f"'{url}'"))

    assert warnings_of(config) == [f"url: {warning}" for warning in warnings]


@pytest.mark.parametrize(
    ("username", "warnings"),
    [
        ("CONTOSO\\svc", []),
        ("o'brien", []),
        ("CONTOSO\\\\svc", [DOUBLED]),
        ("${VB365_USER}", [NO_VARIABLES]),
        ("%USERNAME%", [NO_VARIABLES]),
        ("{{ user }}", [NO_VARIABLES]),
        ('"svc"', [f"{QUOTED} value"]),
        ("“svc”", [f"{QUOTED} value"]),
    ],
)
def test_a_user_name_that_is_not_one_is_a_warning(
    load: Load, username: str, warnings: list[str]
) -> None:
    config = load(MINIMAL.replace("username: u", f"username: {json.dumps(username)}"))

    assert warnings_of(config) == [f"auth.username: {warning}" for warning in warnings]


def test_a_server_name_in_quotes_is_a_warning(load: Load) -> None:
    assert warnings_of(load(f"{MINIMAL}    name: ‘hq’\n")) == [f"name: {QUOTED} value"]


SECRETS: list[tuple[str, list[str]]] = [
    ("secret", []),
    ("Pa$$word'", []),
    ("'", []),
    ("$ecret", []),
    ("${VB365_PASSWORD}", [f"{NO_VARIABLES}; password_env takes a variable's name"]),
    ("$VB365_PASSWORD", [f"{NO_VARIABLES}; password_env takes a variable's name"]),
    ('"secret"', [f"{QUOTED} password"]),
    ("'secret'", [f"{QUOTED} password"]),
    ("“secret”", [f"{QUOTED} password"]),
    ("sec\\\\ret", [DOUBLED]),
    (" secret", ["starts or ends with a space, which is part of the password"]),
    ("sec\N{NO-BREAK SPACE}ret", ["contains U+00A0 (no-break space), which is invisible"]),
    ("secret\N{ZERO WIDTH SPACE}", ["contains U+200B (zero width space), which is invisible"]),
]


@pytest.mark.parametrize(("secret", "warnings"), SECRETS)
def test_a_password_that_is_probably_another_is_a_warning_wherever_it_comes_from(
    load: Load, tmp_path: Path, secret: str, warnings: list[str]
) -> None:
    file = tmp_path / "pw"
    file.touch(0o600)
    file.write_text(secret, encoding="utf-8")
    for key, value in (
        ("password", json.dumps(secret)),
        ("password_env", "PW"),
        ("password_file", "pw"),
    ):
        text = MINIMAL.replace("password: p", f"{key}: {value}")

        found = warnings_of(load(text, {"PW": secret}))

        assert found == [f"auth.{key}: {warning}" for warning in warnings]


def test_a_dropped_line_break_is_a_warning_except_in_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "pw").touch(0o600)
    (tmp_path / "pw").write_text("secret\n")

    found = {
        key: warnings_of(
            load(MINIMAL.replace("password: p", f"{key}: {value}"), {"PW": "secret\n"})
        )
        for key, value in (
            ("password", '"secret\\n"'),
            ("password_env", "PW"),
            ("password_file", "pw"),
        )
    }

    assert found == {
        "password": ["auth.password: ends with a line break, which is dropped"],
        "password_env": ["auth.password_env: ends with a line break, which is dropped"],
        "password_file": [],
    }


def test_a_variable_in_the_url_of_a_proxy_is_a_warning(load: Load) -> None:
    config = load(f"{MINIMAL}    proxy_url: http://user:${{PROXY_PASSWORD}}@proxy:3128\n")

    assert warnings_of(config) == [f"proxy_url: {NO_VARIABLES}"]


class Vanishing(dict[str, str]):
    """Variables that have gone after they were read once."""

    def __getitem__(self, name: str) -> str:
        return self.pop(name)


def test_a_secret_that_vanishes_while_the_file_is_loaded_has_no_warnings(load: Load) -> None:
    text = MINIMAL.replace("password: p", "password_env: PW")

    assert warnings_of(load(text, Vanishing({"PW": '"secret"'}))) == []


@pytest.mark.parametrize(
    ("mode", "is_warning"), [(0o600, False), (0o640, False), (0o644, True), (0o444, True)]
)
def test_a_secret_file_that_every_user_can_read_is_a_warning(
    load: Load, tmp_path: Path, mode: int, *, is_warning: bool
) -> None:
    file = tmp_path / "pw"
    file.write_text("secret")
    file.chmod(mode)

    config = load(MINIMAL.replace("password: p", "password_file: pw"))

    expected = [f"auth.password_file: {file} can be read by every user"]
    assert warnings_of(config) == (expected if is_warning else [])


def test_a_key_that_every_user_can_read_is_a_warning(load: Load, tmp_path: Path) -> None:
    client = trustme.CA().issue_cert("client.example.com")
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    (tmp_path / "client.key").chmod(0o644)

    config = load(f"{MINIMAL}    tls_config: {{cert_file: client.pem, key_file: client.key}}\n")

    assert warnings_of(config) == [
        f"tls_config.key_file: {tmp_path / 'client.key'} can be read by every user"
    ]


PROXY = "    proxy_url: 'http://user:secret@proxy:3128'\n"


@pytest.mark.parametrize(
    ("mode", "text", "places"),
    [
        (0o600, MINIMAL, []),
        (0o640, MINIMAL, []),
        (0o644, MINIMAL, ["auth.password"]),
        (0o604, MINIMAL.replace("username: u, password: p", "token: t"), ["auth.token"]),
        (0o644, MINIMAL.replace("password: p", "password_env: PW"), []),
        (0o644, MINIMAL.replace("password: p", "password_file: pw"), []),
        (0o644, MINIMAL + PROXY, ["auth.password", "proxy_url"]),
        (0o644, MINIMAL + PROXY.replace("user:secret@", ""), ["auth.password"]),
    ],
)
def test_a_configuration_file_with_a_secret_that_every_user_can_read_is_a_warning(
    tmp_path: Path, mode: int, text: str, places: list[str]
) -> None:
    secret = tmp_path / "pw"
    secret.write_text("secret")
    secret.chmod(0o600)
    file = tmp_path / "config.yaml"
    file.write_text(text)
    file.chmod(mode)

    config = load_config(file, environ={"PW": "secret"})

    assert warnings_of(config) == [f"{place}: {file} can be read by every user" for place in places]


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


def test_authorities_are_unused_when_any_certificate_is_trusted(load: Load, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    config = load(server_with("tls_config: {ca_file: ca.pem, insecure_skip_verify: true}"))

    assert [str(warning) for warning in config.warnings] == [
        "servers[0].tls_config.ca_file: unused: insecure_skip_verify trusts any certificate"
    ]
