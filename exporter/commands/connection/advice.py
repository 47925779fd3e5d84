"""What to do about a failed step of a connection to VB365."""

from __future__ import annotations

from exporter.config import ServerConfig
from exporter.text import one_line
from exporter.vb365.errors import (
    AuthError,
    ConnectError,
    ForbiddenError,
    RequestTimeoutError,
    ServerError,
    ThrottledError,
    TlsError,
    Vb365Error,
)
from exporter.vb365.http.certificate import Certificate

NAME = "Check the host in url, and the DNS of this machine (in a container: of the container)."
PROXY = "Check proxy_url (or HTTPS_PROXY), whether the proxy runs, and whether it allows CONNECT to the host and port of url."
UNVERIFIED = (
    "An attacker on the network path can read the password. Compare a fingerprint with the VB365 console, save "
    "the certificate below as a file, set tls_config.ca_file to it, and remove insecure_skip_verify."
)
NO_API = (
    "This is not VB365's REST API, or a reverse proxy serves it under another path. The REST API listens on port 4443 "
    "unless it was changed, and has no path before /v8."
)
NO_SESSIONS = "If there were restores, the account sees only its own sessions: it needs the role Veeam Backup Administrator."
NO_ORGANIZATIONS = "Restore sessions are exported regardless; organizations that never restored anything do not appear."
_NO_PERMISSION = "Give the account the role Veeam Backup Administrator (Manage Users & Roles)."
_SERVER_FAILED = "Check the logs of the VB365 server, and that its services are running."

# OpenSSL's X509_V_ERR_*.
_NOT_YET_VALID = 9
_EXPIRED = 10
_HOST_MISMATCHES = frozenset({62, 64})
_NO_ISSUER = frozenset({2, 18, 19, 20, 21})
"""Self-signed, or issued by an authority that is not trusted."""


def tcp(error: Vb365Error | None) -> str:
    """Return the advice for an address that does not accept the connection."""
    if isinstance(error, RequestTimeoutError):
        return "The host is down, or a firewall drops the packets."
    return (
        "Check that the REST API is enabled (VB365 console, General Options, REST API), that its service is running, "
        "and that the port in url is correct. The default is 4443."
    )


def handshake(error: Vb365Error | None) -> str:
    """Return the advice for a TLS handshake that failed for a reason other than the certificate."""
    if isinstance(error, RequestTimeoutError):
        return "The port accepts connections but does not complete the TLS handshake: check that the port is VB365's REST API."
    reason = error.openssl_reason if isinstance(error, TlsError) else ""
    if "does not speak TLS" in str(error):
        return "Correct the port in url: VB365's REST API listens on 4443 unless it was changed."
    if "PROTOCOL" in reason:
        return "The server offers no secure TLS version. Enable TLS 1.2 on it."
    if "CIPHER" in reason:
        return "The server and this machine have no TLS cipher in common. Update the one with the older TLS settings."
    return (
        "The server, or a device on the network path, ends the handshake. If it requires a client certificate, set "
        "tls_config.cert_file and key_file."
    )


def can_be_pinned(verify_code: int) -> bool:
    """Whether the server's certificate would be accepted as `ca_file`."""
    return verify_code in _NO_ISSUER


def certificate(verify_code: int, found: Certificate | None, server: ServerConfig) -> str:
    """Return the advice for a certificate, if it could be fetched, that OpenSSL rejected with this `X509_V_ERR_*`."""
    if verify_code == _EXPIRED:
        return (
            "Renew the certificate on the server (VB365 console, General Options, REST API). If it has been renewed, a "
            "certificate of its chain or in ca_file has expired."
        )
    if verify_code == _NOT_YET_VALID:
        return (
            "Compare the clock of this machine with the date from which the certificate is valid."
        )
    if verify_code in _HOST_MISMATCHES:
        names = (" or ".join(found.names) if found is not None else "") or "it"
        return (
            "Use a name from the certificate in url; if this machine cannot resolve it, set tls_config.server_name to "
            f"{names}."
        )
    if verify_code not in _NO_ISSUER:
        return "Replace the certificate on the server with one that this machine's OpenSSL accepts."
    if found is None:
        return "The certificate could not be fetched; export it on the server."
    ca_file = server.tls_config.ca_file
    start = (
        f"ca_file {one_line(str(ca_file))} contains neither this certificate nor its issuer's. "
        if ca_file is not None
        else "This machine does not trust the certificate's issuer. "
    )
    authority = (
        " If your own certificate authority issued it, set ca_file to the authority's certificate instead: you do not "
        "have to change it when the server's certificate is renewed."
    )
    return (
        f"{start}Compare a fingerprint with the one that the VB365 server shows (console, General Options, REST API). "
        "Only if they are equal: save the certificate below as a file and set tls_config.ca_file to it."
        + (authority if found.subject != found.issuer else "")
    )


def before_login(error: Vb365Error) -> str:
    """Return the advice for an anonymous request that got no usable response."""
    if isinstance(error, ForbiddenError):
        return "Check the reverse proxy or firewall in front of the server; VB365 itself permits this request."
    if isinstance(error, ConnectError):
        return (
            "The server, or a device on the network path, closed the connection after the handshake. If it requires a "
            "client certificate, set tls_config.cert_file and key_file."
        )
    return api(error)


def api(error: Vb365Error) -> str:
    """Return the advice for a request that got no usable response."""
    if isinstance(error, ForbiddenError):
        return _NO_PERMISSION
    if isinstance(error, ThrottledError):
        return "Wait, and run the check again."
    if isinstance(error, ServerError):
        return _SERVER_FAILED
    if isinstance(error, RequestTimeoutError):
        return "The server is overloaded, or timeout is too short for it."
    if isinstance(error, ConnectError):
        return "The server, or a device on the network path, closed the connection. Run the check again."
    return "Check that this is VB365's REST API: open the url in a browser, or see which program listens on the port."


def login(error: Vb365Error, server: ServerConfig) -> str:
    """Return the advice for a login that failed."""
    auth = server.auth
    if isinstance(error, ForbiddenError):
        return _NO_PERMISSION
    if not isinstance(error, AuthError):
        return api(error)
    if auth.kind == "token":
        return f"Renew the token in {auth.secret_key}."
    if error.status is None:
        return ""  # the secret cannot be read, and the message says why
    return (
        f"Check auth.username (DOMAIN\\account or account@domain) and auth.{auth.secret_key}. An account with a second "
        "factor cannot log in. Repeated attempts can lock the account."
    )
