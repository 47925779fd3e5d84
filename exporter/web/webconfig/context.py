"""The `tls_server_config` block to TLS as connections have it, with all its problems at once."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from exporter.config.files import ca_file_problem, key_pair_problem, read_problem
from exporter.config.problems import ProblemCollector
from exporter.config.secrets import SecretSource, SecretUnavailableError
from exporter.web.tls import ServerContext
from exporter.web.webconfig.model import ServerTLSBlock
from exporter.web.webconfig.watch import FileWatcher

__all__ = ["server_tls"]

_PLACE = "tls_server_config"


def server_tls(
    block: ServerTLSBlock, directory: Path, watch: FileWatcher, problems: ProblemCollector
) -> ServerContext:
    """TLS with the block's certificate and rules; it is of use when nothing was found wrong.

    Args:
        block: what is written.
        directory: where relative paths start.
        watch: takes the files that are read.
        problems: takes the problems.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    # A client could let the server work by handshakes without end.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # As in Go, whatever is in the client's CA file is trusted, be it a root or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _Block(block, directory, watch, problems).put_into(context)
    names = block.client_allowed_sans
    context.allowed_names = None if names is None else frozenset(names)
    return context


class _Block:
    """One block on its way into a context."""

    def __init__(
        self, block: ServerTLSBlock, directory: Path, watch: FileWatcher, problems: ProblemCollector
    ) -> None:
        self._block = block
        self._directory = directory
        self._watch = watch
        self._problems = problems

    def put_into(self, context: ssl.SSLContext) -> None:
        self._load_certificate(context)
        self._load_clients(context)
        self._set_versions(context)
        self._set_ciphers(context)
        self._set_curve(context)

    def _report(self, key: str, message: str) -> None:
        self._problems.report((_PLACE, key), message)

    def _written(self, key: str) -> bool:
        invalid = self._problems.is_invalid((_PLACE, key))
        return invalid or getattr(self._block, key) is not None

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        with ExitStack() as stack:
            pair = [self._path(key, stack) for key in ("cert", "key")]
            cert_file, key_file = pair
            if cert_file is None or key_file is None:
                return
            problem = key_pair_problem(cert_file, key_file, context)
        if problem is not None:
            in_files = self._block.cert is None and self._block.key is None
            self._report(
                "cert_file" if in_files else "cert",
                problem if in_files else "with its key it is no certificate in PEM form",
            )

    def _path(self, key: str, stack: ExitStack) -> Path | None:
        """Where OpenSSL can read the certificate or key; None when there is a problem."""
        inline, file = key, f"{key}_file"
        if self._written(inline) and self._written(file):
            self._report(inline, f"cannot stand beside {file}")
        elif not self._written(inline) and not self._written(file):
            self._report(file, "is needed for TLS")
        elif (name := getattr(self._block, file)) is not None:
            path = self._watch.add(self._directory / name)
            problem = read_problem(path)
            if problem is None:
                return path
            self._report(file, f"{path} {problem}")
        elif (text := self._text(inline)) is not None:
            if sys.platform != "linux":
                self._report(inline, f"can be used on Linux only; use {file}")
            else:
                return stack.enter_context(_file_in_memory(text))
        return None

    def _text(self, key: str) -> str | None:
        secret: SecretSource | None = getattr(self._block, key)
        try:
            return None if secret is None else secret.read()
        except SecretUnavailableError as error:
            self._report(key, str(error))
            return None

    def _load_clients(self, context: ssl.SSLContext) -> None:
        block = self._block
        auth_known = not self._problems.is_invalid((_PLACE, "client_auth_type"))
        verify = block.client_auth_type or ssl.CERT_NONE
        authorities = [key for key in ("client_ca", "client_ca_file") if self._written(key)]
        if len(authorities) > 1:
            self._report("client_ca", "cannot stand beside client_ca_file")
        if authorities and auth_known and verify == ssl.CERT_NONE:
            self._report(authorities[0], "needs a client_auth_type that verifies")
        if block.client_allowed_sans is not None and auth_known and verify != ssl.CERT_REQUIRED:
            # Without a certificate there is no name that could be looked up.
            self._report(
                "client_allowed_sans", "needs client_auth_type: RequireAndVerifyClientCert"
            )
        context.verify_mode = verify
        if block.client_ca_file is not None:
            path = self._watch.add(self._directory / block.client_ca_file)
            if problem := ca_file_problem(path, context):
                self._report("client_ca_file", problem)
        elif text := self._text("client_ca"):
            try:
                context.load_verify_locations(cadata=text)
            except (ssl.SSLError, ValueError):
                self._report("client_ca", "holds no usable certificates in PEM form")
        elif not authorities and verify != ssl.CERT_NONE:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)

    def _set_versions(self, context: ssl.SSLContext) -> None:
        low = self._block.min_version or ssl.TLSVersion.TLSv1_2
        high = self._block.max_version or ssl.TLSVersion.TLSv1_3
        if low > high:
            self._report("max_version", "must not be below min_version")
            return
        context.minimum_version, context.maximum_version = low, high

    def _set_ciphers(self, context: ssl.SSLContext) -> None:
        """Choose the cipher suites of TLS 1.2."""
        if self._block.prefer_server_cipher_suites is False:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if not self._block.cipher_suites or self._problems.is_invalid((_PLACE, "cipher_suites")):
            return
        chosen = set(filter(None, self._block.cipher_suites))
        if chosen:
            with suppress(ssl.SSLError):  # not one of them is there
                context.set_ciphers(":".join(self._block.cipher_suites))
            if not chosen <= {str(suite["name"]) for suite in context.get_ciphers()}:
                self._report("cipher_suites", "has a suite that this OpenSSL does not offer")
        elif context.maximum_version == ssl.TLSVersion.TLSv1_2:
            self._report("cipher_suites", "has no suite of TLS 1.2, which max_version asks for")
        else:
            context.minimum_version = ssl.TLSVersion.TLSv1_3

    def _set_curve(self, context: ssl.SSLContext) -> None:
        curves = self._block.curve_preferences or ()
        if len(curves) > 1:
            self._report(
                "curve_preferences",
                "only one can be given: Python cannot tell OpenSSL of an order of curves",
            )
        elif curves:
            context.set_ecdh_curve(curves[0])


if sys.platform == "linux":

    @contextmanager
    def _file_in_memory(text: str) -> Iterator[Path]:
        """A file that is on no disk: OpenSSL's certificates and keys come from files only."""
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield Path(f"/proc/self/fd/{descriptor}")
