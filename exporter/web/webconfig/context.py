"""Builds the TLS context of a `tls_server_config` block, and collects all problems of the block."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.config.files import ca_file_problem, key_pair_problem, read_problem
from exporter.config.problems import ProblemCollector
from exporter.config.secrets import SecretSource, SecretUnavailableError
from exporter.web.tls import ServerContext
from exporter.web.webconfig.model import (
    CLIENT_AUTH,
    CURVES,
    SUITES,
    VERSIONS,
    ServerTLSBlock,
)

_BLOCK = "tls_server_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFindings:
    """What is wrong with a block.

    Args:
        problems: settings that cannot be used.
        certificate: a certificate and key that cannot be loaded.
        warnings: settings that have no effect, without the loss of a protection.
    """

    problems: ProblemCollector
    certificate: ProblemCollector
    warnings: ProblemCollector


def server_context(
    block: ServerTLSBlock, path_of: Callable[[str], Path], findings: TLSFindings
) -> ServerContext:
    """Return a context with the block's settings; it can be used only if no problem is reported.

    Args:
        block: the block.
        path_of: returns the path of a file that the block names; called before the file is read.
        findings: collects the problems and the warnings.
    """
    problems = findings.problems
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    # Otherwise a client could keep the server busy with repeated handshakes.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # As in Go, every certificate in the client CA file is trusted, not only root certificates.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_certificate(context, block, path_of, findings)
    _load_client_authorities(context, block, path_of, problems)
    _set_versions(context, block, problems)
    _set_cipher_suites(context, block, findings)
    _set_curve(context, block, findings.warnings)
    if block.client_allowed_sans is not None:
        context.allowed_names = frozenset(block.client_allowed_sans)
    return context


def _report(problems: ProblemCollector, key: str, message: str) -> None:
    problems.report((_BLOCK, key), message)


def _is_set(block: ServerTLSBlock, key: str, problems: ProblemCollector) -> bool:
    """Return whether the file has a value for the key, whether or not it is valid."""
    return getattr(block, key) is not None or problems.is_invalid((_BLOCK, key))


def _load_certificate(
    context: ssl.SSLContext,
    block: ServerTLSBlock,
    path_of: Callable[[str], Path],
    findings: TLSFindings,
) -> None:
    with ExitStack() as stack:
        cert_file, key_file = (
            _pem_file(block, key, path_of, findings, stack) for key in ("cert", "key")
        )
        if cert_file is None or key_file is None:
            return
        problem = key_pair_problem(cert_file, key_file, context)
    if problem is not None:
        if block.cert is None and block.key is None:
            _report(findings.certificate, "cert_file", problem)
        else:
            _report(
                findings.certificate,
                "cert",
                "is not a certificate in PEM form that matches its key",
            )


def _pem_file(
    block: ServerTLSBlock,
    key: str,
    path_of: Callable[[str], Path],
    findings: TLSFindings,
    stack: ExitStack,
) -> Path | None:
    """Return a path from which OpenSSL can load the `cert` or `key`; None if there is a problem."""
    problems = findings.problems
    file_key = f"{key}_file"
    if _is_set(block, key, problems) and _is_set(block, file_key, problems):
        _report(problems, key, f"cannot be combined with {file_key}")
    elif not _is_set(block, key, problems) and not _is_set(block, file_key, problems):
        _report(problems, file_key, "is required for TLS")
    elif (name := getattr(block, file_key)) is not None:
        path = path_of(name)
        problem = read_problem(path)
        if problem is None:
            return path
        _report(findings.certificate, file_key, problem)
    elif (text := _inline_pem(block, key, problems)) is not None:
        if sys.platform != "linux":
            _report(problems, key, f"can be used on Linux only; use {file_key}")
        else:
            return stack.enter_context(_memory_file(text))
    return None


def _inline_pem(block: ServerTLSBlock, key: str, problems: ProblemCollector) -> str | None:
    secret: SecretSource | None = getattr(block, key)
    try:
        return None if secret is None else secret.read()
    except SecretUnavailableError as error:
        _report(problems, key, str(error))
        return None


def _load_client_authorities(
    context: ssl.SSLContext,
    block: ServerTLSBlock,
    path_of: Callable[[str], Path],
    problems: ProblemCollector,
) -> None:
    is_auth_valid = not problems.is_invalid((_BLOCK, "client_auth_type"))
    verify = CLIENT_AUTH[block.client_auth_type or "NoClientCert"]
    authorities = [key for key in ("client_ca", "client_ca_file") if _is_set(block, key, problems)]
    if len(authorities) > 1:
        _report(problems, "client_ca", "cannot be combined with client_ca_file")
    if authorities and is_auth_valid and verify == ssl.CERT_NONE:
        _report(problems, authorities[0], "needs a client_auth_type that verifies")
    if block.client_allowed_sans is not None and is_auth_valid and verify != ssl.CERT_REQUIRED:
        # A client without a certificate has no names to check.
        message = "needs client_auth_type: RequireAndVerifyClientCert"
        _report(problems, "client_allowed_sans", message)
    context.verify_mode = verify
    if block.client_ca_file is not None:
        if problem := ca_file_problem(path_of(block.client_ca_file), context):
            _report(problems, "client_ca_file", problem)
    elif text := _inline_pem(block, "client_ca", problems):
        try:
            context.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError):
            _report(problems, "client_ca", "holds no usable certificates in PEM form")
    elif not authorities and verify != ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)


def _set_versions(
    context: ssl.SSLContext, block: ServerTLSBlock, problems: ProblemCollector
) -> None:
    lowest = VERSIONS.get(block.min_version or "", ssl.TLSVersion.TLSv1_2)
    highest = VERSIONS.get(block.max_version or "", ssl.TLSVersion.TLSv1_3)
    if lowest > highest:
        _report(problems, "max_version", "must not be below min_version")
        return
    context.minimum_version, context.maximum_version = lowest, highest


def _set_cipher_suites(
    context: ssl.SSLContext, block: ServerTLSBlock, findings: TLSFindings
) -> None:
    """Set the cipher suites of TLS 1.2; Python cannot select those of TLS 1.3."""
    if block.prefer_server_cipher_suites is False:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if not block.cipher_suites or findings.problems.is_invalid((_BLOCK, "cipher_suites")):
        return
    chosen = [name for suite in block.cipher_suites if (name := SUITES.get(suite))]
    if not chosen and context.maximum_version == ssl.TLSVersion.TLSv1_2:
        message = "has no suite of TLS 1.2, which max_version requires"
        _report(findings.problems, "cipher_suites", message)
    elif not chosen:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        with suppress(ssl.SSLError):  # none of them is available
            context.set_ciphers(":".join(chosen))
        missing = set(chosen) - {suite["name"] for suite in context.get_ciphers()}
        message = "has a suite that this OpenSSL does not offer"
        if missing == set(chosen):
            _report(findings.problems, "cipher_suites", message)
        elif missing:
            _report(findings.warnings, "cipher_suites", message)


def _set_curve(context: ssl.SSLContext, block: ServerTLSBlock, warnings: ProblemCollector) -> None:
    curves = block.curve_preferences or ()
    if len(curves) == 1:
        context.set_ecdh_curve(CURVES[curves[0]])
    elif curves:
        message = "OpenSSL's curves are used: Python can set one curve, not several"
        _report(warnings, "curve_preferences", message)


if sys.platform == "linux":

    @contextmanager
    def _memory_file(text: str) -> Iterator[Path]:
        """Yield the path of a file in memory: Python loads certificates and keys only from files."""
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield Path(f"/proc/self/fd/{descriptor}")
