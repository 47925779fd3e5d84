"""What TLS of a web configuration file does in a handshake."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import nullcontext
from pathlib import Path

import pytest
import trustme

from exporter.web.tls import ServerContext, subject_names
from exporter.web.webconfig.reloader import WebConfigReloader

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
RSA_SUITE = "ECDHE-RSA-AES128-GCM-SHA256"


def server(
    directory: Path, text: str = "", key: trustme.KeyType = trustme.KeyType.ECDSA
) -> ssl.SSLContext:
    """TLS with a certificate for 127.0.0.1 and further keys."""
    leaf = AUTHORITY.issue_cert("127.0.0.1", key_type=key)
    leaf.cert_chain_pems[0].write_to_path(str(directory / "server.crt"))
    leaf.private_key_pem.write_to_path(str(directory / "server.key"))
    AUTHORITY.cert_pem.write_to_path(str(directory / "ca.crt"))
    return written(
        directory, f"tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{text}"
    )


def written(directory: Path, text: str) -> ssl.SSLContext:
    file = directory / "web.yml"
    file.write_text(text)
    made = asyncio.run(WebConfigReloader(file).newest()).tls
    assert made is not None
    return made


def client(
    shown: trustme.LeafCert | None = None, *, suites: str = "", curve: str = ""
) -> ssl.SSLContext:
    """A client that trusts the authority, and perhaps shows a certificate."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if shown is not None:
        shown.configure_cert(context)
    if suites:
        context.set_ciphers(suites)
        context.maximum_version = TLS12
    if curve:
        context.set_ecdh_curve(curve)
    return context


def shake_hands(tls: ssl.SSLContext, context: ssl.SSLContext) -> ssl.SSLObject:
    """The server's side of a handshake that is over; TLS errors of either side are raised."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = context.wrap_bio(down, up, server_hostname="127.0.0.1")
    serving = tls.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (asking, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return serving


def version(tls: ssl.SSLContext, context: ssl.SSLContext) -> str | None:
    return shake_hands(tls, context).version()


def limited_to(context: ssl.SSLContext, only: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = only
    return context


def test_tls_1_2_and_1_3_are_spoken_and_http_1_1_is_agreed_on(tmp_path: Path) -> None:
    tls = server(tmp_path)
    context = client()
    context.set_alpn_protocols(["h2", "http/1.1"])

    assert shake_hands(tls, context).selected_alpn_protocol() == "http/1.1"
    assert version(tls, client()) == "TLSv1.3"
    assert version(tls, limited_to(client(), TLS12)) == "TLSv1.2"


@pytest.mark.parametrize(
    ("text", "spoken", "refused"),
    [("min_version: TLS13", TLS13, TLS12), ("max_version: TLS12", TLS12, TLS13)],
)
def test_versions_can_be_limited(
    tmp_path: Path, text: str, spoken: ssl.TLSVersion, refused: ssl.TLSVersion
) -> None:
    tls = server(tmp_path, f"  {text}\n")

    assert version(tls, limited_to(client(), spoken))
    with pytest.raises(ssl.SSLError):
        shake_hands(tls, limited_to(client(), refused))


def test_inline_certificates_are_as_good_as_files(tmp_path: Path) -> None:
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    given = {
        "cert": leaf.cert_chain_pems[0],
        "key": leaf.private_key_pem,
        "client_ca": AUTHORITY.cert_pem,
    }
    text = "tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n"
    for key, pem in given.items():
        indented = pem.bytes().decode().replace("\n", "\n    ")
        text += f"  {key}: |\n    {indented}\n"
    tls = written(tmp_path, text)

    assert version(tls, client(AUTHORITY.issue_cert("me")))
    with pytest.raises(ssl.SSLError, match=r"(?i)peer did not return a certificate"):
        shake_hands(tls, client())


@pytest.mark.parametrize(
    ("auth_type", "without", "verified", "of_a_stranger"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
def test_client_auth_types_ask_for_what_they_say(
    tmp_path: Path,
    auth_type: str,
    without: bool,  # noqa: FBT001 - a parameter
    verified: bool,  # noqa: FBT001 - a parameter
    of_a_stranger: bool,  # noqa: FBT001 - a parameter
) -> None:
    authority = "" if auth_type == "NoClientCert" else "  client_ca_file: ca.crt\n"
    tls = server(tmp_path, f"  client_auth_type: {auth_type}\n{authority}")

    def lets_in(shown: trustme.LeafCert | None) -> bool:
        try:
            return shake_hands(tls, client(shown)).version() is not None
        except ssl.SSLError:
            return False

    assert without is lets_in(None)
    assert verified is lets_in(AUTHORITY.issue_cert("me"))
    assert of_a_stranger is lets_in(STRANGER.issue_cert("me"))


def test_a_certificate_in_the_clients_authorities_is_trusted_itself(tmp_path: Path) -> None:
    leaf = STRANGER.issue_cert("me")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "me.crt"))
    tls = server(
        tmp_path,
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: me.crt\n",
    )

    assert version(tls, client(leaf))


def test_without_client_authorities_the_systems_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    STRANGER.cert_pem.write_to_path(str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))  # OpenSSL's name for them
    tls = server(tmp_path, "  client_auth_type: RequireAndVerifyClientCert\n")
    trusting = client(STRANGER.issue_cert("me"))

    assert version(tls, trusting)
    with pytest.raises(ssl.SSLError):
        shake_hands(tls, client(AUTHORITY.issue_cert("me")))


@pytest.mark.parametrize(
    ("allowed", "lets_in"),
    [
        ("[prometheus.example]", True),
        ("[other, me@prometheus.example]", True),
        ("[10.1.2.3]", True),
        ("['2001:db8::1']", True),
        ("['2001:DB8:0:0:0:0:0:1']", False),  # not as Go writes it
        ("[example, other]", False),
        ("[]", False),
    ],
)
def test_allowed_names_are_any_subject_alternative_names_of_the_client(
    tmp_path: Path,
    allowed: str,
    lets_in: bool,  # noqa: FBT001 - a parameter
) -> None:
    tls = server(
        tmp_path,
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
        f"  client_allowed_sans: {allowed}\n",
    )
    shown = AUTHORITY.issue_cert(
        "prometheus.example", "me@prometheus.example", "10.1.2.3", "2001:db8::1"
    )
    with nullcontext() if lets_in else pytest.raises(ssl.SSLError, match="no allowed name"):
        shake_hands(tls, client(shown))


def test_a_client_without_names_or_certificate_has_no_allowed_name(tmp_path: Path) -> None:
    tls = server(tmp_path)
    assert isinstance(tls, ServerContext)
    tls.allowed_names = frozenset({"me"})
    for shown in (AUTHORITY.issue_cert(common_name="me"), None):
        with pytest.raises(ssl.SSLError, match="no allowed name"):
            shake_hands(tls, client(shown))


def test_uris_are_names_too_and_malformed_addresses_are_not() -> None:
    kinds = (("IP Address", "<invalid>"), ("URI", "u"), ("DirName", "d"))
    assert list(subject_names({"subjectAltName": kinds})) == ["u"]


def test_cipher_suites_of_tls_1_2_can_be_chosen(tmp_path: Path) -> None:
    tls = server(
        tmp_path,
        "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n",
        trustme.KeyType.RSA,
    )

    assert (shake_hands(tls, client(suites=RSA_SUITE)).cipher() or ("",))[0] == RSA_SUITE
    assert version(tls, client()) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        shake_hands(tls, client(suites="ECDHE-RSA-AES256-GCM-SHA384"))


def test_with_suites_of_tls_1_3_alone_no_other_version_is_spoken(tmp_path: Path) -> None:
    tls = server(tmp_path, "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n")

    assert version(tls, client()) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        shake_hands(tls, limited_to(client(), TLS12))


@pytest.mark.parametrize(("prefer", "chosen"), [("true", 256), ("false", 128)])
def test_the_server_or_the_client_chooses_among_the_suites(
    tmp_path: Path, prefer: str, chosen: int
) -> None:
    tls = server(
        tmp_path,
        "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
        f"  prefer_server_cipher_suites: {prefer}\n",
        trustme.KeyType.RSA,
    )
    used = shake_hands(tls, client(suites=f"{RSA_SUITE}:ECDHE-RSA-AES256-GCM-SHA384")).cipher()

    assert used is not None
    assert chosen == used[2]


@pytest.mark.parametrize(
    ("curve", "name"),
    [("CurveP256", "prime256v1"), ("CurveP384", "secp384r1"), ("X25519", "X25519")],
)
def test_one_curve_can_be_asked_for(tmp_path: Path, curve: str, name: str) -> None:
    tls = server(tmp_path, f"  curve_preferences: [{curve}]\n")

    assert version(tls, client(curve=name))
    with pytest.raises(ssl.SSLError):
        shake_hands(tls, client(curve="secp521r1"))
