"""The keys of a web configuration file, and the problems reported in them."""

from __future__ import annotations

import ssl
from pathlib import Path

import bcrypt
import pytest
import trustme
from structlog.testing import capture_logs

from exporter.config.problems import ConfigError
from exporter.web.webconfig.loader import WebConfig, read_web_config
from exporter.web.webconfig.model import HEADERS, RateLimitBlock
from exporter.web.webconfig.reloader import WebConfigReloader

AUTHORITY = trustme.CA()
SERVER = AUTHORITY.issue_cert("127.0.0.1")
HASH = bcrypt.hashpw(b"pass", b"$2b$04$" + b"." * 22).decode()  # a fixed salt: test ids contain it
OF_ALICE = f"basic_auth_users: {{alice: {HASH}}}\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a certificate, its key and the authority that signed it."""
    SERVER.cert_chain_pems[0].write_to_path(str(tmp_path / "server.crt"))
    SERVER.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path


def lines(directory: Path, text: str) -> list[str]:
    """The problems of a file with this text; paths are shown without the directory."""
    file = directory / "web.yml"
    file.write_text(text, encoding="utf-8")
    try:
        read_web_config(file)
    except ConfigError as error:
        return [str(problem).replace(f"{directory}/", "") for problem in error.problems]
    return []


def config(directory: Path, text: str) -> WebConfig:
    """The settings of a file without problems."""
    assert lines(directory, text) == []
    return WebConfigReloader(directory / "web.yml").current


def tls(more: str = "") -> str:
    return f"tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "{}",
        "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\nrate_limit:\n",
        "tls_server_config: {}\nbasic_auth_users: {}\n",
        "tls_server_config: {cert_file: '', key_file: '', client_auth_type: '', client_ca_file: }\n",
        "http_server_config: {http2: false, headers: {}}\n",
        "http_server_config: {headers: {Content-Security-Policy: ''}}\n",
        "rate_limit: {interval: 0, burst: 3}\n",
    ],
)
def test_a_file_without_settings_is_the_default(directory: Path, text: str) -> None:
    made = config(directory, text)

    assert made == WebConfig()
    assert made.protections == frozenset[str]()


def test_without_a_file_the_defaults_apply() -> None:
    reloader = WebConfigReloader(None)
    reloader.reload()

    assert reloader.current == WebConfig()


def test_every_setting_of_a_file_is_read(directory: Path) -> None:
    made = config(
        directory,
        tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n")
        + "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: '0'}}\n"
        + OF_ALICE
        + "rate_limit: {interval: 1m30s, burst: 20}\n",
    )

    assert made.tls is not None
    assert made.users == {b"alice": HASH.encode()}
    assert made.headers == (("X-Frame-Options", "deny"), ("X-XSS-Protection", "0"))
    assert made.rate_limit == RateLimitBlock(interval=90.0, burst=20)
    assert made.protections == {"TLS", "client certificates", "basic authentication"}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("- a\n", ["web.yml: must be a mapping of keys such as basic_auth_users"]),
        ("a: b: c\n", None),
        ("tls_server_config: [a]\n", ["tls_server_config: must be a mapping (key: value)"]),
        ("basic_auth_users: alice\n", ["basic_auth_users: must be a mapping (key: value)"]),
        (
            "basic_auth_user: {}\n",
            ['basic_auth_user: unknown key; did you mean "basic_auth_users"?'],
        ),
        (
            "cert_file: a\n",
            ['cert_file: unknown key; did you mean "cert_file" under tls_server_config?'],
        ),
        ("basic_auth_users: {}\nbasic_auth_users: {}\n", None),
        (
            "basic_auth_users: {alice: secret, bob: 7}\n",
            [
                "basic_auth_users.alice: must be a bcrypt hash such as htpasswd -nBC 10 makes",
                "basic_auth_users.bob: must be a bcrypt hash such as htpasswd -nBC 10 makes",
            ],
        ),
        (
            f"basic_auth_users: {{alice: $2y$10${'z' * 53}}}\n",
            ["basic_auth_users.alice: is not a whole bcrypt hash"],
        ),
        (
            f"basic_auth_users: {{alice: {HASH.replace('$04$', '$18$')}, bob: {HASH.replace('$04$', '$17$')}}}\n",
            [
                "basic_auth_users.alice: has the cost 18, so a check of the password takes longer than a scrape may; use 10 to 12"
            ],
        ),
        (
            f"basic_auth_users: {{'a:b': {HASH}}}\n",
            ["basic_auth_users.a…: a user name with a colon cannot be sent"],
        ),
        (
            "http_server_config: {http2: maybe}\n",
            ["http_server_config.http2: must be true or false"],
        ),
        (
            "http_server_config: {headers: {Server: x, X-Frame-Options: allow}}\n",
            [
                f"http_server_config.headers.Server: cannot be set; only {', '.join(HEADERS)} can",
                "http_server_config.headers.X-Frame-Options: must be deny or sameorigin",
            ],
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb: c"}}\n',
            [
                r"http_server_config.headers.X-XSS-Protection: contains U+000D (carriage return); YAML reads \r as this character in double quotes, and literally in single quotes"
            ],
        ),
        (
            "rate_limit: {interval: 1s}\n",
            ["rate_limit.burst: must be at least 1, or every request is rejected"],
        ),
        (
            "rate_limit: {interval: 5, burst: many}\n",
            [
                "rate_limit.burst: must be a whole number from 0 to 1000000",
                "rate_limit.interval: must be a duration such as 30s, 5m, 1h30m or 7d",
            ],
        ),
        (
            "tls_server_config: {min_version: TLS12}\n",
            [
                "tls_server_config.cert_file: is required for TLS",
                "tls_server_config.key_file: is required for TLS",
            ],
        ),
        (
            "tls_server_config: {cert_file: absent.crt, key_file: server.key}\n",
            ["tls_server_config.cert_file: absent.crt cannot be read: No such file or directory"],
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: ca.crt}\n",
            [
                "tls_server_config.cert_file: server.crt and ca.crt are not a certificate and its key in PEM form"
            ],
        ),
        (
            "tls_server_config: {cert_file: ca.crt, key_file: server.key}\n",
            ["tls_server_config.cert_file: server.key is not the key of ca.crt"],
        ),
        (
            "tls_server_config: {cert: x, cert_file: server.crt, key: y, client_ca: z}\n",
            [
                "tls_server_config.cert: cannot be combined with cert_file",
                "tls_server_config.client_ca: needs a client_auth_type that verifies",
                "tls_server_config.client_ca: holds no usable certificates in PEM form",
            ],
        ),
        (
            "tls_server_config: {cert: x, key: y}\n",
            ["tls_server_config.cert: is not a certificate in PEM form that matches its key"],
        ),
        (
            tls("  client_auth_type: RequireAnyClientCert\n  client_ca_file: ca.crt\n"),
            [
                "tls_server_config.client_auth_type: RequireAnyClientCert is not supported: Python verifies every certificate it requests; use RequireAndVerifyClientCert"
            ],
        ),
        (
            tls("  client_auth_type: Any\n"),
            [
                "tls_server_config.client_auth_type: must be NoClientCert or VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            ],
        ),
        (
            tls("  client_ca_file: ca.crt\n"),
            ["tls_server_config.client_ca_file: needs a client_auth_type that verifies"],
        ),
        (
            tls(
                "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: server.key\n"
                "  client_allowed_sans: [a]\n"
            ),
            [
                "tls_server_config.client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
                "tls_server_config.client_ca_file: server.key holds no usable certificates in PEM form",
            ],
        ),
        (
            tls("  min_version: SSL30\n  max_version: TLS11\n"),
            [
                "tls_server_config.max_version: TLS11 is broken (RFC 8996) and no longer supported by OpenSSL; use TLS12",
                "tls_server_config.min_version: must be TLS12 or TLS13",
            ],
        ),
        (
            tls("  min_version: TLS13\n  max_version: TLS12\n"),
            ["tls_server_config.max_version: must not be below min_version"],
        ),
        (
            tls("  cipher_suites: [TLS_FAST]\n  curve_preferences: [P256]\n"),
            [
                "tls_server_config.cipher_suites[0]: must be a suite such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "tls_server_config.curve_preferences[0]: must be CurveP256 or CurveP384 or CurveP521 or X25519",
            ],
        ),
        (
            tls("  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
            [
                "tls_server_config.cipher_suites: has no suite of TLS 1.2, which max_version requires"
            ],
        ),
    ],
)
def test_each_problem_is_reported_with_its_place(
    directory: Path, text: str, problems: list[str] | None
) -> None:
    reported = lines(directory, text)

    if problems is None:
        assert len(reported) == 1
    else:
        assert reported == problems


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (
            "http_server_config: {http2: true}\n",
            ["http_server_config.http2: the exporter supports HTTP/1.1 only"],
        ),
        (
            tls("  client_auth_type: RequestClientCert\n"),
            [
                "tls_server_config.client_auth_type: no certificate is requested; NoClientCert accepts the same clients"
            ],
        ),
        (
            tls("  min_version: TLS10\n"),
            [
                "tls_server_config.min_version: TLS10 is broken (RFC 8996); TLS12 is the lowest version"
            ],
        ),
        (
            tls("  curve_preferences: [X25519, CurveP256]\n"),
            [
                "tls_server_config.curve_preferences: OpenSSL's curves are used: Python can set one curve, not several"
            ],
        ),
        (
            tls(
                "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
            ),
            ["tls_server_config.cipher_suites[0]: is insecure and never offered"],
        ),
    ],
)
def test_settings_without_effect_are_warnings_if_no_protection_is_lost(
    directory: Path, text: str, warnings: list[str]
) -> None:
    file = directory / "web.yml"
    file.write_text(text, encoding="utf-8")

    assert [str(warning) for warning in read_web_config(file).warnings] == warnings
    with capture_logs() as logged:
        WebConfigReloader(file)
    assert [f"{event['place']}: {event['problem']}" for event in logged] == warnings


def test_a_lower_version_than_tls_1_2_is_never_accepted(directory: Path) -> None:
    context = config(directory, tls("  min_version: TLS10\n")).tls
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_problems_of_all_blocks_are_reported_at_once_and_no_secret_is(directory: Path) -> None:
    reported = lines(
        directory,
        tls("  key: marker-1\n  min_version: marker-2\n  marker-3: x\n")
        + "basic_auth_users: {alice: marker-4}\nrate_limit: {burst: marker-5}\n"
        "http_server_config: {http2: marker-6}\n",
    )

    assert [line.partition(": ")[0] for line in reported] == [
        "basic_auth_users.alice",
        "http_server_config.http2",
        "rate_limit.burst",
        "tls_server_config.key",
        "tls_server_config.marker-3",
        "tls_server_config.min_version",
    ]
    assert "marker" not in "".join(line.partition(": ")[2] for line in reported)


def test_a_missing_file_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.yml: cannot be read: No such file"):
        WebConfigReloader(tmp_path / "web.yml")


def test_the_repr_of_the_configuration_has_no_secret(directory: Path) -> None:
    assert HASH not in repr(config(directory, OF_ALICE))


def test_the_line_break_of_a_block_scalar_is_not_part_of_a_hash(directory: Path) -> None:
    text = f"basic_auth_users:\n  alice: |\n    {HASH}\n"

    assert config(directory, text).users == {b"alice": HASH.encode()}


def test_a_control_character_in_an_inline_key_is_a_problem(directory: Path) -> None:
    text = 'tls_server_config: {cert_file: server.crt, key: "a\\0\\nb"}\n'

    (line,) = lines(directory, text)
    assert line == (
        "tls_server_config.key: the value contains the control character U+0000 (NUL); "
        "only a single line break at the end is dropped"
    )
