"""Builds the TLS context of a `tls_server_config` block, and collects all problems of the block."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
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


@dataclass(kw_only=True)
class ContextBuilder:
    """Builds a TLS context with the settings of a block, and collects what is wrong with them.

    Args:
        block: the block.
        path_of: returns the path of a file that the block names; called before the file is read.
        problems: collects settings that cannot be used.

    Attributes:
        certificate_problems: why a certificate and its key cannot be loaded.
        warnings: settings that have no effect, without the loss of a protection.
    """

    block: ServerTLSBlock
    path_of: Callable[[str], Path]
    problems: ProblemCollector
    certificate_problems: ProblemCollector = field(default_factory=ProblemCollector)
    warnings: ProblemCollector = field(default_factory=ProblemCollector)

    def build(self) -> ServerContext:
        """Return the context; it can be used only if there are no problems."""
        context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        # Otherwise a client could keep the server busy with repeated handshakes.
        context.options |= ssl.OP_NO_RENEGOTIATION
        # As in Go, every certificate in the client CA file is trusted, not only root certificates.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._load_certificate(context)
        self._load_client_authorities(context)
        self._set_versions(context)
        self._set_cipher_suites(context)
        self._set_curve(context)
        if self.block.client_allowed_sans is not None:
            context.allowed_names = frozenset(self.block.client_allowed_sans)
        return context

    def _report(self, key: str, message: str) -> None:
        self.problems.report((_BLOCK, key), message)

    def _is_invalid(self, key: str) -> bool:
        return self.problems.is_invalid((_BLOCK, key))

    def _is_set(self, key: str) -> bool:
        """Return whether the file has a value for the key, whether or not it is valid."""
        return getattr(self.block, key) is not None or self._is_invalid(key)

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        with ExitStack() as stack:
            cert_file, key_file = (self._pem_file(key, stack) for key in ("cert", "key"))
            if cert_file is None or key_file is None:
                return
            problem = key_pair_problem(cert_file, key_file, context)
        if problem is None:
            return
        key = "cert_file"
        if self.block.cert is not None or self.block.key is not None:
            key, problem = "cert", "is not a certificate in PEM form that matches its key"
        self.certificate_problems.report((_BLOCK, key), problem)

    def _pem_file(self, key: str, stack: ExitStack) -> Path | None:
        """Return a path from which OpenSSL can load the `cert` or `key`; None if there is a problem."""
        file_key = f"{key}_file"
        if self._is_set(key) and self._is_set(file_key):
            self._report(key, f"cannot be combined with {file_key}")
        elif not self._is_set(key) and not self._is_set(file_key):
            self._report(file_key, "is required for TLS")
        elif (name := getattr(self.block, file_key)) is not None:
            path = self.path_of(name)
            problem = read_problem(path)
            if problem is None:
                return path
            self.certificate_problems.report((_BLOCK, file_key), problem)
        elif (text := self._inline_pem(key)) is not None:
            if sys.platform != "linux":
                self._report(key, f"can be used on Linux only; use {file_key}")
            else:
                return stack.enter_context(_memory_file(text))
        return None

    def _inline_pem(self, key: str) -> str | None:
        secret: SecretSource | None = getattr(self.block, key)
        try:
            return None if secret is None else secret.read()
        except SecretUnavailableError as error:
            self._report(key, str(error))
            return None

    def _load_client_authorities(self, context: ssl.SSLContext) -> None:
        is_auth_valid = not self._is_invalid("client_auth_type")
        verify = CLIENT_AUTH[self.block.client_auth_type or "NoClientCert"]
        authorities = [key for key in ("client_ca", "client_ca_file") if self._is_set(key)]
        if len(authorities) > 1:
            self._report("client_ca", "cannot be combined with client_ca_file")
        if authorities and is_auth_valid and verify == ssl.CERT_NONE:
            self._report(authorities[0], "needs a client_auth_type that verifies")
        if (
            self.block.client_allowed_sans is not None
            and is_auth_valid
            and verify != ssl.CERT_REQUIRED
        ):
            # A client without a certificate has no names to check.
            message = "needs client_auth_type: RequireAndVerifyClientCert"
            self._report("client_allowed_sans", message)
        context.verify_mode = verify
        if self.block.client_ca_file is not None:
            if problem := ca_file_problem(self.path_of(self.block.client_ca_file), context):
                self._report("client_ca_file", problem)
        elif text := self._inline_pem("client_ca"):
            try:
                context.load_verify_locations(cadata=text)
            except (ssl.SSLError, ValueError):
                self._report("client_ca", "holds no usable certificates in PEM form")
        elif not authorities and verify != ssl.CERT_NONE:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)

    def _set_versions(self, context: ssl.SSLContext) -> None:
        lowest = VERSIONS.get(self.block.min_version or "", ssl.TLSVersion.TLSv1_2)
        highest = VERSIONS.get(self.block.max_version or "", ssl.TLSVersion.TLSv1_3)
        if lowest > highest:
            self._report("max_version", "must not be below min_version")
            return
        context.minimum_version, context.maximum_version = lowest, highest

    def _set_cipher_suites(self, context: ssl.SSLContext) -> None:
        """Set the cipher suites of TLS 1.2; Python cannot select those of TLS 1.3."""
        if self.block.prefer_server_cipher_suites is False:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if not self.block.cipher_suites or self._is_invalid("cipher_suites"):
            return
        chosen = [name for suite in self.block.cipher_suites if (name := SUITES.get(suite))]
        if not chosen and context.maximum_version == ssl.TLSVersion.TLSv1_2:
            self._report("cipher_suites", "has no suite of TLS 1.2, which max_version requires")
        elif not chosen:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        else:
            with suppress(ssl.SSLError):  # none of them is available
                context.set_ciphers(":".join(chosen))
            missing = set(chosen) - {suite["name"] for suite in context.get_ciphers()}
            if missing:
                is_none_left = missing == set(chosen)
                (self.problems if is_none_left else self.warnings).report(
                    (_BLOCK, "cipher_suites"), "has a suite that this OpenSSL does not offer"
                )

    def _set_curve(self, context: ssl.SSLContext) -> None:
        curves = self.block.curve_preferences or ()
        if len(curves) == 1:
            context.set_ecdh_curve(CURVES[curves[0]])
        elif curves:
            message = "OpenSSL's curves are used: Python can set one curve, not several"
            self.warnings.report((_BLOCK, "curve_preferences"), message)


if sys.platform == "linux":

    @contextmanager
    def _memory_file(text: str) -> Iterator[Path]:
        """Yield the path of a file in memory: Python loads certificates and keys only from files."""
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield Path(f"/proc/self/fd/{descriptor}")
