from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from exporter.config import ConfigError, parse_config
from exporter.config.files import LoadContext
from exporter.config.loader import keys_below, validate_blocks
from exporter.config.model import Config
from exporter.config.problems import Problem, ProblemCollector, dotted

ENVIRON = {"EMPTY": "", "TOKEN": "a b", "TWO_LINES": "demo\n\n"}
Problems = Callable[[str], list[str]]

ONE_SECRET = (
    ": exactly one of password, password_file, password_env, token, token_file or token_env "
    "is required"
)
NO_TOKEN = "is not a bearer token: it contains spaces, line breaks or non-ASCII characters"
DURATION = "must be a duration such as 30s, 5m, 1h30m or 7d"
ESCAPED = "as this character in double quotes, and literally in single quotes"
DIRECTORY = (
    "it is a directory; a container engine makes one where the file to be mounted does not exist"
)
UTF16 = "is UTF-16 text, which Windows PowerShell writes by default; save it as UTF-8"
DROPPED = "only a single line break at the end is dropped"
HOST = "must be a URL with a host name or an IP address"
VARIABLE = "the environment variable named here"
NOTHING = "has no value; give it one or remove the key"
UUID = "must be a UUID such as 635b22cf-9cdc-4004-9160-9b90f90f1bbf"
URL_PORT = "must be a URL whose port is a number from 1 to 65535"
BRACKETS = "an IPv6 address needs brackets"
ENCODED = "a password with special characters needs them as %XX"


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    """Return the problem lines of a text; the files it names are in tmp_path."""

    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            parse_config(text, directory=tmp_path, environ=ENVIRON)
        error = caught.value
        assert error.__cause__ is None
        assert error.__context__ is None
        assert str(error) == "; ".join(map(str, error.problems))
        return [str(problem) for problem in error.problems]

    return problems


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "config.yaml: is empty; it needs at least servers"),
        ("# nothing\n", "config.yaml: is empty; it needs at least servers"),
        ("- a\n", "config.yaml: must be a mapping of keys such as servers"),
        ("hunter2", "config.yaml: must be a mapping of keys such as servers"),
        ("{}", "servers: at least one server is required"),
        ("servers:", "servers: at least one server is required"),
        ("servers: []", "servers: at least one server is required"),
        ("servers: {a: b}", "servers: must be a list (- value)"),
        ("servers: vb365", "servers: must be a list (- value)"),
        ("servers: [vb365]", "servers[0]: must be a mapping (key: value)"),
        ("servers: [~]", "servers[0]: must be a mapping (key: value)"),
        ("server: [{}]", 'server: unknown key; did you mean "servers"?'),
        (
            "a: [1\nb: 2",
            "config.yaml: line 2, column 2: a comma or the closing bracket is missing before this",
        ),
    ],
)
def test_a_file_that_is_not_a_configuration_has_one_problem(
    problems: Problems, text: str, line: str
) -> None:
    assert problems(text) == [line]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("poll_interval: 60", f"poll_interval: {DURATION}"),
        ("poll_interval: 1.5", f"poll_interval: {DURATION}"),
        ("poll_interval: true", f"poll_interval: {DURATION}"),
        ("poll_interval: 1:30", f"poll_interval: {DURATION}"),
        ("poll_interval: [1m]", f"poll_interval: {DURATION}"),
        ("poll_interval:", f"poll_interval: {NOTHING}"),
        ("poll_interval: '0'", "poll_interval: must be from 1s to 1d"),
        ("poll_interval: 999ms", "poll_interval: must be from 1s to 1d"),
        ("poll_interval: 1d1ms", "poll_interval: must be from 1s to 1d"),
        ("stale_after: 31d", "stale_after: must be from 1s to 30d"),
        ("stale_after: 1m", "stale_after: must be longer than poll_interval (1m)"),
        (
            "stale_after: 5m\npoll_interval: 5m",
            "stale_after: must be longer than poll_interval (5m)",
        ),
        ("info_labels: name", "info_labels: must be a list (- value)"),
        (
            "info_labels: [name, user]",
            "info_labels[1]: must be name, initiated_by, client_host, scope_name, reason or details",
        ),
        (
            "info_labels: [name, reason, name]",
            "info_labels[2]: given twice, first as info_labels[0]",
        ),
        ("pol_interval: 1m", 'pol_interval: unknown key; did you mean "poll_interval"?'),
        ("timeout: 1m", 'timeout: unknown key; did you mean "timeout" under servers[]?'),
        ("zzz: 1m", "zzz: unknown key"),
        ("warnings:", "warnings: unknown key"),
        ("1: 1m", "1: unknown key"),
        ('? "a\\nb"\n: 1m', "a…: unknown key"),
        (
            "poll_interval: 1m\npoll_interval: 2m",
            "poll_interval: duplicate key in line 2, first in line 1",
        ),
    ],
)
def test_each_mistake_at_the_top_has_its_line(problems: Problems, key: str, line: str) -> None:
    text = f"{key}\nservers: [{{url: https://a, auth: {{token: t}}}}]"

    assert problems(text) == [line]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("name: 7", "name: must be text; put it in quotes"),
        ("name: ''", "name: is empty"),
        ("name: ", f"name: {NOTHING}"),
        ("name: ' a'", "name: must not start or end with a space"),
        (
            'name: "a\\nb"',
            f"name: contains U+000A (line feed); YAML reads \\n {ESCAPED}",
        ),
        (
            'name: "CONTOSO\\backup"',
            f"name: contains U+0008 (backspace); YAML reads \\b {ESCAPED}",
        ),
        ('name: "a\\x01"', "name: contains U+0001"),
        ('name: "a\\u200b"', "name: contains U+200B (zero width space)"),
        ("name: |\n      hq", "name: contains U+000A (line feed); YAML reads \\n " + ESCAPED),
        ("timeout: ${TIMEOUT}", f"timeout: {DURATION}; variables are not expanded"),
        (f"name: {'a' * 129}", "name: must have at most 128 characters"),
        ("api_version: 8", "api_version: must be auto, v6, v7 or v8"),
        ("api_version:", f"api_version: {NOTHING}"),
        ("api_version: v9", "api_version: must be auto, v6, v7 or v8"),
        ("poll_interval: 1", f"poll_interval: {DURATION}"),
        ("auth2: x", 'auth2: unknown key; did you mean "auth"?'),
        ("pasword: x", 'pasword: unknown key; did you mean "password" under servers[].auth?'),
        ("stale_after: 1h", 'stale_after: unknown key; did you mean "stale_after" at the top?'),
        ("timeout: 10", f"timeout: {DURATION}"),
        ("timeout: 99ms", "timeout: must be from 100ms to 5m"),
        (
            "max_concurrent_requests: 0",
            "max_concurrent_requests: must be a whole number from 1 to 64",
        ),
        (
            "max_concurrent_requests: 65",
            "max_concurrent_requests: must be a whole number from 1 to 64",
        ),
        (
            "max_concurrent_requests: '8'",
            "max_concurrent_requests: must be a whole number from 1 to 64",
        ),
        (
            "max_concurrent_requests: true",
            "max_concurrent_requests: must be a whole number from 1 to 64",
        ),
        (
            "max_concurrent_requests: 8.0",
            "max_concurrent_requests: must be a whole number from 1 to 64",
        ),
        ("change_feed: always", "change_feed: must be auto or never"),
        ("change_feed: true", "change_feed: must be auto or never"),
        ("proxy_from_environment: 1", "proxy_from_environment: must be true or false"),
        ("proxy_from_environment: 'yes'", "proxy_from_environment: must be true or false"),
        ("proxy_url: socks5://proxy", "proxy_url: must start with http:// or https://"),
        ("proxy_url: proxy:3128", "proxy_url: must start with http:// or https://"),
        ("proxy_url: http://proxy/path", "proxy_url: must not have a path"),
        ("proxy_url: http://user:pa/ss@proxy", f"proxy_url: {URL_PORT}; {ENCODED}"),
        ("proxy_url: 'http://user:p[ss@proxy'", f"proxy_url: {HOST}; {ENCODED}"),
        (
            "proxy_url: http://user:pass@2001:db8::1",
            f"proxy_url: {URL_PORT}; {BRACKETS}; {ENCODED}",
        ),
        (
            "proxy_url: 'http://user:pa#ss@proxy'",
            "proxy_url: must not have a query or fragment; write ? as %3F and # as %23",
        ),
        (
            "proxy_url: http://proxy\n    proxy_from_environment: true",
            "proxy_url: cannot be used together with proxy_from_environment: true",
        ),
        ("tls_config: verify", "tls_config: must be a mapping (key: value)"),
        (
            "tls_config: {server_name: 'a:b'}",
            "tls_config.server_name: must be a host name or an IP address",
        ),
        (
            "tls_config: {server_name: 'fe80::1%eth0'}",
            "tls_config.server_name: must be a host name or an IP address",
        ),
        (
            "proxy_url: http://u:p%0A@proxy",
            "proxy_url: must not have a control character in its user information",
        ),
        (
            "tls_config: {server_name: a b}",
            "tls_config.server_name: must be a host name or an IP address",
        ),
        (
            "tls_config: {insecure_skip_verify: 'false'}",
            "tls_config.insecure_skip_verify: must be true or false",
        ),
        (
            "tls_config: {insecure_skip_verfy: true}",
            'tls_config.insecure_skip_verfy: unknown key; did you mean "insecure_skip_verify"?',
        ),
        ("sessions: all", "sessions: must be a mapping (key: value)"),
        (
            "sessions: {ids: [], discover: false}",
            "sessions.ids: is empty and discover is false: there is nothing to follow",
        ),
        (
            "sessions: {discover: false}",
            "sessions.ids: is empty and discover is false: there is nothing to follow",
        ),
        ("sessions: {ids: [x]}", f"sessions.ids[0]: {UUID}"),
        ("sessions: {ids: [1], discover: false}", f"sessions.ids[0]: {UUID}"),
        ("sessions: {ids: [635b22cf9cdc400491609b90f90f1bbf]}", f"sessions.ids[0]: {UUID}"),
        ("sessions: {ids: ['{635b22cf-9cdc-4004-9160-9b90f90f1bbf}']}", f"sessions.ids[0]: {UUID}"),
        (
            "sessions: {ids: 635b22cf-9cdc-4004-9160-9b90f90f1bbf}",
            "sessions.ids: must be a list (- value)",
        ),
        ("sessions: {discover: 1}", "sessions.discover: must be true or false"),
        ("sessions: {lookback: 0s}", "sessions.lookback: must be from 1s to 3650d"),
        (
            "sessions: {max_series: -1}",
            "sessions.max_series: must be a whole number from 0 to 1000000",
        ),
        (
            'sessions: {max_series: "10"}',
            "sessions.max_series: must be a whole number from 0 to 1000000",
        ),
        (
            "sessions: {max_sessions: 0}",
            "sessions.max_sessions: must be a whole number from 1 to 10000000",
        ),
        ("sessions: {extras: [event]}", "sessions.extras[0]: must be statistics or events"),
        (
            "sessions: {extras: [events, events]}",
            "sessions.extras[1]: given twice, first as servers[0].sessions.extras[0]",
        ),
    ],
)
def test_each_mistake_of_a_server_has_its_line(problems: Problems, keys: str, line: str) -> None:
    text = f"servers:\n  - url: https://a\n    auth: {{token: t}}\n    {keys}\n"

    assert problems(text) == [f"servers[0].{line}"]


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("", NOTHING),
        ("''", "is empty"),
        ("7", "must be text; put it in quotes"),
        ("vb365.example.com", "must start with https://"),
        ("http://vb365", "must start with https://"),
        ("//vb365", "must start with https://"),
        ("https://", "must be a URL with a host name or an IP address"),
        ("https:///path", "must be a URL with a host name or an IP address"),
        ("https://-a", "must be a URL with a host name or an IP address"),
        ("https://a,b", "must be a URL with a host name or an IP address"),
        ("https://u:hunter2@a", "must not have user information; the login belongs under auth"),
        ("https://@a", "must not have user information; the login belongs under auth"),
        ("https://a?b", "must not have a query or fragment; write ? as %3F and # as %23"),
        ("https://a?", "must not have a query or fragment; write ? as %3F and # as %23"),
        ("'https://a#'", "must not have a query or fragment; write ? as %3F and # as %23"),
        ("https://a:port", URL_PORT),
        ("https://a:0", URL_PORT),
        ("https://a:65536", URL_PORT),
        ("'https://a:'", URL_PORT),
        ("'https://::1'", f"{URL_PORT}; {BRACKETS}"),
        ("https://2001:db8::1", f"{URL_PORT}; {BRACKETS}"),
        ("https://2001:db8::1:4443", f"{URL_PORT}; {BRACKETS}"),
        ("'https://[::1]:'", URL_PORT),
        ("https://[::1", HOST),
        ("https://[fe80::zz]", HOST),
        ("https://[fe80::1%25]", HOST),
        ("https://[h]", HOST),
        (
            "https://a b",
            "must consist of ASCII characters without spaces or backslashes; encode others as %XX",
        ),
        ("https://münchen", "must have its host name in ASCII form (xn--...)"),
        (
            "https://a/ü",
            "must consist of ASCII characters without spaces or backslashes; encode others as %XX",
        ),
        ('"https://a\\u200b"', "contains U+200B (zero width space)"),
        ("https://${HOST}:4443", f"{HOST}; variables are not expanded"),
        ("https://a:004443", URL_PORT),
        ("https://[v1.a]", HOST),
        (
            r"https://a\b",
            "must consist of ASCII characters without spaces or backslashes; encode others as %XX",
        ),
    ],
)
def test_each_unusable_url_has_its_line(problems: Problems, url: str, line: str) -> None:
    text = f"servers:\n  - url: {url}\n    auth: {{token: t}}\n"

    assert problems(text) == [f"servers[0].url: {line}"]


def test_a_server_needs_a_url_and_a_login(problems: Problems) -> None:
    assert problems("servers: [{}]") == [
        f"servers[0].auth{ONE_SECRET}, but none is given",
        "servers[0].url: is required, such as https://vb365.example.com:4443",
    ]


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        ("", f"{ONE_SECRET}, but none is given"),
        ("{}", f"{ONE_SECRET}, but none is given"),
        ("{username: u}", f"{ONE_SECRET}, but none is given"),
        ("hunter2", ": must be a mapping (key: value)"),
        (
            "{username: u, password: p, token: t}",
            f"{ONE_SECRET}, but password and token are given",
        ),
        (
            "{username: u, password: p, password_env: X, token_file: t}",
            f"{ONE_SECRET}, but password and password_env and token_file are given",
        ),
        (
            "{token: t, token_file: f}",
            f"{ONE_SECRET}, but token and token_file are given",
        ),
        ("{password: p}", ".username: is required with a password"),
        ("{username: '', password: p}", ".username: is empty"),
        ("{username: u, token: t}", ".username: is used with a password only, not with a token"),
        ("{username: u, password: 12345}", ".password: must be text; put it in quotes"),
        ("{username: u, password: ''}", ".password: is empty"),
        ("{username: u, password: }", f".password: {NOTHING}"),
        (
            '{username: u, password: "a\\ud800"}',
            ".password: the value is not UTF-8 text",
        ),
        (
            '{username: u, password: "pa\\nss"}',
            f".password: the value contains the control character U+000A (line feed); {DROPPED}",
        ),
        (
            "{username: u, password_env: TWO_LINES}",
            f".password_env: {VARIABLE} contains the control character U+000A (line feed); {DROPPED}",
        ),
        ("{token_env: TWO_LINES}", f".token_env: {VARIABLE} {NO_TOKEN}"),
        (
            '{username: "CONTOSO\\backup", password: p}',
            f".username: contains U+0008 (backspace); YAML reads \\b {ESCAPED}",
        ),
        ("{username: u, pasword: x}", '.pasword: unknown key; did you mean "password"?'),
        ("{usrname: u, password: x}", '.usrname: unknown key; did you mean "username"?'),
        ("{username: u, password:hunter2}", '.password…: unknown key; did you mean "password"?'),
        (
            "{username: u, password_env: MISSING}",
            ".password_env: the environment variable named here is not set",
        ),
        (
            "{username: u, password_env: EMPTY}",
            ".password_env: the environment variable named here is empty",
        ),
        (
            "{username: u, password_env: hunter-2}",
            ".password_env: must be the name of an environment variable",
        ),
        (
            "{token_env: TOKEN}",
            f".token_env: the environment variable named here {NO_TOKEN}",
        ),
        (
            "{token: a b}",
            f".token: the value {NO_TOKEN}",
        ),
    ],
)
def test_each_mistake_of_a_login_has_its_line(problems: Problems, auth: str, line: str) -> None:
    text = f"servers:\n  - url: https://a\n    auth: {auth}\n"

    assert problems(text) == [f"servers[0].auth{line}"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("missing", None, "cannot be read: No such file or directory"),
        ("dir", None, f"cannot be read: {DIRECTORY}"),
        ("empty", b"", "is empty"),
        ("newline", b"\n", "is empty"),
        ("latin", b"caf\xe9", "is not UTF-8 text"),
        ("utf16", "secret\n".encode("utf-16"), UTF16),
        ("utf16 without mark", "secret\n".encode("utf-16-le"), UTF16),
        (
            "two-newlines",
            b"secret\n\n",
            f"contains the control character U+000A (line feed); {DROPPED}",
        ),
        ("nul", b"sec\0ret", f"contains the control character U+0000 (NUL); {DROPPED}"),
        ("large", b"a" * 65_537, "is larger than 64 KiB"),
    ],
)
def test_an_unusable_secret_file_is_a_problem(
    problems: Problems, tmp_path: Path, name: str, content: bytes | None, line: str
) -> None:
    (tmp_path / "dir").mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    text = f"servers: [{{url: https://a, auth: {{username: u, password_file: {name}}}}}]"

    assert problems(text) == [f"servers[0].auth.password_file: {tmp_path / name} {line}"]


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    """Return a directory with certificates, keys and a file that is neither."""
    first, second = (trustme.CA().issue_cert("client.example.com") for _ in range(2))
    first.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    first.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    second.private_key_pem.write_to_path(str(tmp_path / "other.key"))
    key = load_pem_private_key(first.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    )
    (tmp_path / "encrypted.key").write_bytes(encrypted)
    (tmp_path / "text").write_text("hunter2")
    pem = first.cert_chain_pems[0].bytes().decode()
    (tmp_path / "utf16").write_text(pem, encoding="utf-16")
    (tmp_path / "der").write_bytes(ssl.PEM_cert_to_DER_cert(pem))
    return tmp_path


@pytest.mark.parametrize(
    ("tls_config", "lines"),
    [
        ("{ca_file: text}", ["ca_file: {0}/text holds no usable certificates in PEM form"]),
        (
            "{ca_file: client.key}",
            ["ca_file: {0}/client.key holds no usable certificates in PEM form"],
        ),
        ("{ca_file: utf16}", [f"ca_file: {{0}}/utf16 {UTF16}"]),
        (
            "{ca_file: der}",
            [
                "ca_file: {0}/der is a certificate in DER form; convert it with openssl x509 -inform der"
            ],
        ),
        ("{ca_file: no}", ["ca_file: must be text; put it in quotes"]),
        ("{ca_file: none}", ["ca_file: {0}/none cannot be read: No such file or directory"]),
        ("{cert_file: client.pem}", ["cert_file: requires key_file as well"]),
        ("{key_file: client.key}", ["key_file: requires cert_file as well"]),
        (
            "{cert_file: client.pem, key_file: other.key}",
            ["cert_file: {0}/other.key is not the key of {0}/client.pem"],
        ),
        (
            "{cert_file: client.pem, key_file: encrypted.key}",
            [
                "cert_file: {0}/encrypted.key is encrypted; the exporter needs it without a passphrase"
            ],
        ),
        (
            "{cert_file: text, key_file: client.key}",
            [
                "cert_file: {0}/text and {0}/client.key are not a certificate and its key in PEM form"
            ],
        ),
        (
            "{cert_file: none, key_file: nil}",
            [
                "cert_file: {0}/none cannot be read: No such file or directory",
                "key_file: {0}/nil cannot be read: No such file or directory",
            ],
        ),
        ("{cert_file: 7, key_file: client.key}", ["cert_file: must be text; put it in quotes"]),
    ],
)
def test_unusable_certificates_are_problems(
    problems: Problems, pems: Path, tls_config: str, lines: list[str]
) -> None:
    text = f"servers: [{{url: https://a, auth: {{token: t}}, tls_config: {tls_config}}}]"

    assert problems(text) == [f"servers[0].tls_config.{line.format(pems)}" for line in lines]


def test_usable_certificates_are_accepted(pems: Path) -> None:
    config = parse_config(
        "servers: [{url: https://a, auth: {token: t}, tls_config: "
        "{ca_file: client.pem, cert_file: client.pem, key_file: client.key}}]",
        directory=pems,
        environ={},
    )

    tls_config = config.servers[0].tls_config
    assert (tls_config.ca_file, tls_config.cert_file, tls_config.key_file) == (
        pems / "client.pem",
        pems / "client.pem",
        pems / "client.key",
    )


@pytest.mark.parametrize(
    ("servers", "lines"),
    [
        (
            "{name: hq, url: https://a, auth: {token: t}}, {name: hq, url: https://b, auth: {token: t}}",
            ['servers[1].name: duplicate name "hq"; servers[0] has it already'],
        ),
        (
            "{url: https://a:1, auth: {token: t}}, {url: 'https://A:2/', auth: {token: t}}",
            ['servers[1].name: duplicate name "a", taken from url; servers[0] has it already'],
        ),
        (
            "{url: https://a:1, auth: {token: t}}, {name: a, url: https://b, auth: {token: t}}",
            ['servers[1].name: duplicate name "a"; servers[0] has it already'],
        ),
        (
            "{name: a, url: https://b, auth: {token: t}}, {name: a, nme: b, url: https://a, auth: {token: t}}",
            [
                'servers[1].name: duplicate name "a"; servers[0] has it already',
                'servers[1].nme: unknown key; did you mean "name"?',
            ],
        ),
        (
            "{name: a, url: https://b, auth: {token: t}}, {name: 7, url: https://a, auth: {token: t}}",
            ["servers[1].name: must be text; put it in quotes"],
        ),
        (
            "{name: a, url: http://a, auth: {token: t}}, {url: https://a, auth: 7}",
            [
                "servers[0].url: must start with https://",
                "servers[1].auth: must be a mapping (key: value)",
                'servers[1].name: duplicate name "a", taken from url; servers[0] has it already',
            ],
        ),
    ],
)
def test_a_duplicate_name_is_reported_at_the_second_server(
    problems: Problems, servers: str, lines: list[str]
) -> None:
    assert problems(f"servers: [{servers}]") == lines


def test_a_server_that_polls_too_seldom_for_stale_after_is_named(problems: Problems) -> None:
    text = """
stale_after: 5m
servers:
  - {url: https://a, auth: {token: t}}
  - {url: https://b, auth: {token: t}, poll_interval: 5m}
  - {url: https://c, auth: {token: t}, poll_interval: 10m}
  - {url: https://d, auth: {token: t}, poll_interval: 4m}
"""

    assert problems(text) == [
        "servers[1].poll_interval: must be shorter than stale_after (5m)",
        "servers[2].poll_interval: must be shorter than stale_after (5m)",
    ]


def test_the_default_poll_interval_does_not_matter_if_no_server_uses_it(tmp_path: Path) -> None:
    text = "stale_after: 30s\nservers: [{url: https://a, auth: {token: t}, poll_interval: 10s}]"

    assert parse_config(text, directory=tmp_path, environ={}).stale_after == 30.0


def test_all_problems_of_a_file_are_reported_at_once_in_the_order_of_their_places(
    problems: Problems,
) -> None:
    text = """
stale_after: 30s
servers:
  - url: https://a
    pasword: hunter2
    auth: {username: u, password: p, token: t}
  - url: https://a
    auth: {username: u, password_file: missing.txt}
    sessions: {ids: [x], max_series: "10"}
"""

    lines = problems(text)

    assert [
        line if "missing.txt" not in line else f"{line.split(': ')[0]}: " for line in lines
    ] == [
        f"servers[0].auth{ONE_SECRET}, but password and token are given",
        'servers[0].pasword: unknown key; did you mean "password" under servers[].auth?',
        "servers[1].auth.password_file: ",
        'servers[1].name: duplicate name "a", taken from url; servers[0] has it already',
        f"servers[1].sessions.ids[0]: {UUID}",
        "servers[1].sessions.max_series: must be a whole number from 0 to 1000000",
        "stale_after: must be longer than poll_interval (1m)",
    ]


def test_places_are_in_the_order_of_their_numbers(problems: Problems) -> None:
    servers = ", ".join(f"{{name: s{n}, url: x, auth: {{token: t}}}}" for n in range(11))

    lines = problems(f"servers: [{servers}]")

    assert lines == [f"servers[{n}].url: must start with https://" for n in range(11)]


def test_characters_that_are_not_what_they_seem_are_pointed_out_beside_the_problems(
    problems: Problems,
) -> None:
    text = "servers:\n\N{NO-BREAK SPACE} - url: https://a\n# “\npoll_interval: “1m”\n"

    assert problems(text) == [
        "config.yaml: line 2, column 1: U+00A0 (no-break space) is invisible; remove it or use a space",
        'config.yaml: line 4, column 16: U+201C (left double quotation mark) has no meaning in YAML; use "',
        f"poll_interval: {DURATION}",
        "servers: at least one server is required",
        "…: unknown key",
    ]


def test_a_problem_is_one_line_whatever_the_path_is(problems: Problems) -> None:
    text = 'servers: [{url: https://a, auth: {token: t}, tls_config: {ca_file: "a\\u2029b"}}]'

    assert problems(text) == [
        f"servers[0].tls_config.ca_file: contains U+2029 (paragraph separator); YAML reads \\P {ESCAPED}"
    ]
    assert str(Problem("a\nb", "x")) == "a\\u000ab: x"


def test_no_wrong_value_is_reported_in_the_words_of_pydantic() -> None:
    context = LoadContext(directory=Path(), environ={})
    kinds: list[object] = [None, True, -1, 2.5, "\x00", "", [{}], {"x": "y"}, [[]]]
    for place, key in keys_below(Config):
        for kind in kinds:
            location = (*place.replace("[]", "").split("."), key) if place else (key,)
            document: object = kind
            for step in reversed(location):
                document = {
                    step: [document] if step == "servers" and len(location) > 1 else document
                }
            problems = ProblemCollector()
            assert isinstance(document, dict)
            validate_blocks(Config, document, problems, context)
            for problem in problems.found:
                assert not problem.message.startswith(("Input", "Value error", "is not valid"))
                assert "pydantic" not in problem.message


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ((), ""),
        (("servers", 0, "auth"), "servers[0].auth"),
        (("a.b",), "a…"),
        (("servers", 1, ""), "servers[1].…"),
        (("x" * 65,), "x" * 64 + "…"),
    ],
)
def test_places_are_dotted_and_show_only_the_plain_start_of_a_key(
    location: tuple[str | int, ...], place: str
) -> None:
    assert dotted(location) == place
