"""The steps from a server's name to its organizations, and what each finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from exporter.commands.connection import advice
from exporter.commands.connection.finding import Finding, Verdict, failure
from exporter.commands.connection.opening import opening_findings
from exporter.commands.session_lists import NoObserver, read_list
from exporter.config import ServerConfig
from exporter.text import format_instant, one_line
from exporter.vb365.client import Client
from exporter.vb365.errors import ForbiddenError, NotFoundError, Vb365Error
from exporter.vb365.http.transport import Transport
from exporter.vb365.records.restore_session import RestoreSession
from exporter.vb365.versions import NEWEST_FIRST

__all__ = ["check_server"]

_MAX_ORGANIZATIONS_NAMED = 10
_ORGANIZATIONS_SECONDS = 60.0


def check_server(server: ServerConfig, stop: threading.Event) -> Iterator[Finding]:
    """Yield the findings of one server, then log out. The first failure ends the steps that depend on it.

    Failed requests are not retried.

    Args:
        server: the configuration.
        stop: ends the steps when set; the findings are then meaningless.
    """
    transport = Transport(server, observer=NoObserver(), stop=stop)
    client = Client(server, observer=NoObserver(), stop=stop, transport=transport)
    try:
        try:
            served = client.served_versions()
        except Vb365Error as error:
            yield from opening_findings(server, transport.newest_connection, error, stop)
            return
        yield from opening_findings(server, transport.newest_connection, None, stop)
        yield (api := _api(server, served))
        if api.verdict is Verdict.FAIL:
            return
        for finding in _login(server, client):
            yield finding
            if finding.verdict is Verdict.FAIL:
                return
        yield _sessions(client)
        yield _organizations(client)
    finally:
        client.close()


def _api(server: ServerConfig, served: tuple[str, ...]) -> Finding:
    missing = [version for version in NEWEST_FIRST if version not in served]
    text = f"present: {', '.join(served) or 'none'}"
    if missing:
        text += f"; absent: {', '.join(missing)}"
    if not served:
        return Finding("api", Verdict.FAIL, text, advice=advice.NO_API)
    if server.api_version == "auto":
        return Finding("api", Verdict.OK, f"{text}; {served[0]} is used")
    if server.api_version in served:
        text = f"{text}; {server.api_version} is used, as configured"
        return Finding("api", Verdict.OK, text)
    what_to_do = advice.other_version(served[0])
    text = f"{text}; {server.api_version} is configured"
    return Finding("api", Verdict.FAIL, text, advice=what_to_do)


def _login(server: ServerConfig, client: Client) -> Iterator[Finding]:
    """Yield the findings of the login and of the product version: reading the version logs in."""
    auth = server.auth
    account = "the token" if auth.kind == "token" else one_line(auth.username or "")
    try:
        version = client.product_version()
    except Vb365Error as error:
        if error.operation == "token":
            yield failure("login", error, advice.login(error, server))
            return
        yield Finding("login", Verdict.OK, f"accepted: {account}")
        yield failure("product", error, advice.api(error))
        return
    yield Finding("login", Verdict.OK, f"accepted: {account}")
    text = f"VB365 {one_line(version)}" if version else "the server does not report its version"
    yield Finding("product", Verdict.OK, text)


def _sessions(client: Client) -> Finding:
    newest: list[RestoreSession] = []

    def is_open(session: RestoreSession) -> bool:
        if not newest or session.creation_time > newest[0].creation_time:
            newest[:] = [session]
        return not session.stopped

    try:
        listed = read_list(client, is_open)
    except Vb365Error as error:
        return failure("sessions", error, advice.api(error))
    if not newest:
        return Finding(
            "sessions",
            Verdict.WARN,
            "the account can see no restore session",
            advice=advice.NO_SESSIONS,
        )
    text = (
        f"{listed.listed} visible, {len(listed.sessions)} of them open, the newest from "
        f"{format_instant(newest[0].creation_time)}"
    )
    if rejected := sum(listed.rejected.values()):
        text += f"; {rejected} more cannot be read ({', '.join(sorted(listed.rejected))})"
    verdict = Verdict.WARN if rejected else Verdict.OK
    return Finding("sessions", verdict, text)


def _organizations(client: Client) -> Finding:
    try:
        organizations = client.organizations(until=time.monotonic() + _ORGANIZATIONS_SECONDS)
    except (ForbiddenError, NotFoundError) as error:
        return Finding(
            "organizations",
            Verdict.WARN,
            error.message,
            advice=advice.NO_ORGANIZATIONS,
        )
    except Vb365Error as error:
        return failure("organizations", error, advice.api(error))
    names = sorted(one_line(one.label) for one in organizations)
    shown = "; ".join(names[:_MAX_ORGANIZATIONS_NAMED])
    more = len(names) - _MAX_ORGANIZATIONS_NAMED
    text = f"{len(names)} visible" + (f": {shown}" if shown else "")
    return Finding(
        "organizations",
        Verdict.OK,
        f"{text}; and {more} more" if more > 0 else text,
    )
