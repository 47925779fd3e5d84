"""The keys of a web configuration file and their values, as in exporter-toolkit.

Source: `docs/web-configuration.md` of prometheus/exporter-toolkit. Values that Python's `ssl` or this server
does not support are rejected with the reason, or replaced with a warning where that loses no protection.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

import bcrypt

from exporter.config.model import Block
from exporter.config.problems import Location
from exporter.config.secrets import SecretSource, without_line_break
from exporter.config.types import (
    Reader,
    boolean,
    duration,
    inline_secret,
    printable,
    whole_number,
)

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that the file may set, each with its allowed values; none: any value."""

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])(\$[./A-Za-z0-9]{53})")
# Each step doubles the time: at 17 a check takes about 10 s, the usual timeout of a scrape.
_MAX_BCRYPT_COST = 17

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_BROKEN_VERSIONS = ("TLS10", "TLS11")

CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED_CLIENT_AUTH = ("RequireAnyClientCert", "RequireClientCert")

SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    # The suites of TLS 1.3 may be listed, but are always enabled, as in Go.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
"""Go's `tls.CipherSuites()` by their OpenSSL names."""

_WEAK_SUITES = (
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
)
"""Go's `tls.InsecureCipherSuites()`: older versions of exporter-toolkit accept some of them; here they are never offered."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}


def _unless_blank(reader: Reader) -> Reader:
    """Return the reader of a key that, as in exporter-toolkit, counts as missing when it is blank."""
    return Reader(lambda value: None if value in (None, "") else reader.read(value), reader.schema)


def _word_of(
    words: Collection[str], must: str = "", refused: Mapping[str, str] | None = None
) -> Reader:
    """Return the reader of a key with a fixed set of words.

    Args:
        words: the words.
        must: the error message for any other word; by default, it lists the words.
        refused: the error messages for words of exporter-toolkit that are not supported.
    """
    must = must or f"must be {' or '.join(words)}"

    def read(value: object) -> str:
        word = value if isinstance(value, str) else ""
        if word not in words:
            raise ValueError((refused or {}).get(word, must))
        return word

    return Reader(read, {})


def _read_bcrypt_hash(value: object) -> bytes:
    text = without_line_break(value) if isinstance(value, str) else ""
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise ValueError("must be a bcrypt hash such as htpasswd -nBC 10 makes")
    if int(match[1]) > _MAX_BCRYPT_COST:
        raise ValueError(
            f"has the cost {match[1]}, so a check of the password takes longer than a scrape may; use 10 to 12"
        )
    try:
        # A text in the form of a hash can still be invalid. With the lowest cost, the check is fast.
        bcrypt.checkpw(b"", f"$2b$04{match[2]}".encode())
    except ValueError:
        raise ValueError("is not a whole bcrypt hash") from None
    return text.encode()


def _read_interval(value: object) -> object:
    return 0.0 if value == 0 else duration("0s", "1d").read(value)


_path = _unless_blank(printable())
_pem = _unless_blank(inline_secret(lines=True))
_min_version = _word_of((*VERSIONS, *_BROKEN_VERSIONS), "must be TLS12 or TLS13")
_max_version = _word_of(
    VERSIONS,
    refused={
        name: f"{name} is broken (RFC 8996) and no longer supported by OpenSSL; use TLS12"
        for name in _BROKEN_VERSIONS
    },
)
_suite = _word_of(
    (*SUITES, *_WEAK_SUITES),
    "must be a suite such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
)
_client_auth = _unless_blank(
    _word_of(
        CLIENT_AUTH,
        "must be NoClientCert or VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        refused={
            name: f"{name} is not supported: Python verifies every certificate it requests; "
            "use RequireAndVerifyClientCert"
            for name in _UNVERIFIED_CLIENT_AUTH
        },
    )
)


class ServerTLSBlock(Block):
    """TLS of the web server, and the client certificates that it requires."""

    cert: Annotated[SecretSource | None, _pem] = None
    key: Annotated[SecretSource | None, _pem] = None
    client_ca: Annotated[SecretSource | None, _pem] = None
    cert_file: Annotated[str | None, _path] = None
    key_file: Annotated[str | None, _path] = None
    client_ca_file: Annotated[str | None, _path] = None
    client_auth_type: Annotated[str | None, _client_auth] = None
    client_allowed_sans: tuple[Annotated[str, printable()], ...] | None = None
    min_version: Annotated[str | None, _min_version] = None
    max_version: Annotated[str | None, _max_version] = None
    cipher_suites: tuple[Annotated[str, _suite], ...] | None = None
    prefer_server_cipher_suites: Annotated[bool | None, boolean] = None
    curve_preferences: tuple[Annotated[str, _word_of(CURVES)], ...] | None = None


class HTTPBlock(Block):
    """The HTTP version, and the headers of every response."""

    http2: Annotated[bool | None, boolean] = None
    headers: dict[str, Annotated[str | None, _unless_blank(printable())]] | None = None


class RateLimitBlock(Block):
    """The limit for all requests together: a burst, then a request per interval; an interval of 0 is no limit."""

    interval: Annotated[float, Reader(_read_interval, {})] = 0.0
    burst: Annotated[int, whole_number(0, 1_000_000)] = 0


class WebFile(Block):
    """A web configuration file."""

    tls_server_config: ServerTLSBlock = ServerTLSBlock()
    http_server_config: HTTPBlock = HTTPBlock()
    basic_auth_users: dict[str, Annotated[bytes, Reader(_read_bcrypt_hash, {})]] | None = None
    rate_limit: RateLimitBlock = RateLimitBlock()


def replaced_values(file: WebFile) -> Iterator[tuple[Location, str]]:
    """Yield the values of a file that are replaced, each with its place and the reason."""
    if file.http_server_config.http2:
        yield ("http_server_config", "http2"), "the exporter supports HTTP/1.1 only"
    block = file.tls_server_config
    if block.min_version in _BROKEN_VERSIONS:
        yield (
            ("tls_server_config", "min_version"),
            f"{block.min_version} is broken (RFC 8996); TLS12 is the lowest version",
        )
    if block.client_auth_type == "RequestClientCert":
        yield (
            ("tls_server_config", "client_auth_type"),
            "no certificate is requested; NoClientCert accepts the same clients",
        )
    for number, suite in enumerate(block.cipher_suites or ()):
        if suite in _WEAK_SUITES:
            yield ("tls_server_config", "cipher_suites", number), "is insecure and never offered"
