"""No secret gets out: not into a log, a page, a traceback or the list of processes, and not to another server."""

from __future__ import annotations

import json
import re
import ssl
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
import trustme
from vb365.support import Server, http, responding_with

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.failure_catalogue import (
    FAILURES,
    NAME_NOT_RESOLVED,
    Failure,
    FaultSetting,
    SessionRole,
)
from support.processes import EXPORTER, free_port, run_exporter, running_process
from support.secret_leaks import leaks
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

PASSWORD_MARK, TOKEN_MARK, PROXY_MARK = MARKS = (
    "hunter2Mark5e1f",
    "tokenMark7a2c",
    "proxyMark9d3e",
)
PASSWORD = f"p+ä&=% \"'\\{PASSWORD_MARK}#: "

PAGES = ("/", "/metrics", "/config", "/-/healthy", "/-/ready", "/nowhere", "/config/nowhere")

LOGIN_REDIRECTED = Failure(
    title="redirect of the login",
    faults=(
        FaultSetting(name="unauthorized_once"),
        FaultSetting(name="redirect_to_other_host", route="token"),
    ),
    handling=FAILURES[0].handling,
)

# A mistake of the exporter where it has the password or a token in its hands, and one that ends a thread.
CRASHING = """
import sys
import requests
from exporter.cli import main
from exporter.metrics.exposition import Publisher

send, publish = requests.Session.send, Publisher.publish

def broken_send(self, request, **options):
    if request.method == "POST" or "/RestoreSessions" in request.url:
        raise LookupError("injected") from requests.RequestException(request=request)
    return send(self, request, **options)

def broken_publish(self, snapshot):
    if snapshot.server == "publish":
        raise LookupError("injected")
    publish(self, snapshot)

requests.Session.send, Publisher.publish = broken_send, broken_publish
sys.exit(main())
"""


@dataclass(frozen=True)
class Command:
    """The exporter's command while it runs."""

    url: str
    cmdline: str
    log: Path

    def pages(self) -> str:
        """Return the whole response, including headers."""
        answers = [
            requests.request(method, self.url + page, headers={"Accept": accepted}, timeout=30)
            for method, page, accepted in (
                *(("GET", page, "*/*") for page in PAGES),
                ("GET", "/metrics", "application/openmetrics-text; version=1.0.0"),
                ("POST", "/metrics", "*/*"),
            )
        ]
        return "\n".join(f"{answer.headers}\n{answer.text}" for answer in answers)

    def values(self, name: str) -> dict[str, float]:
        """The samples of a metric that has no label but the server, by server."""
        text = requests.get(f"{self.url}/metrics", timeout=30).text
        found = re.findall(rf'^{name}{{server="(.*)"}} (\S+)$', text, re.MULTILINE)
        return {server: float(value) for server, value in found}


def wait_for_polls(commands: Sequence[Command], of_each: int) -> None:
    """Return when so many polls of each server of each command have ended after this call."""
    polls = "vb365_polls_total"
    before = [each.values(polls) for each in commands]
    for each, earlier in zip(commands, before, strict=True):
        wait_until(
            lambda each=each, earlier=earlier: all(  # type: ignore[misc] # bound to this turn of the loop
                count >= earlier[server] + of_each for server, count in each.values(polls).items()
            ),
            f"{of_each} polls of each server",
            60,
            pause_seconds=0.25,  # many servers make a large page
        )


@contextmanager
def command(config: Path, log_format: str, program: Sequence[str] = EXPORTER) -> Iterator[Command]:
    """Run the command, as talkative as it can be."""
    port = free_port()
    log = config.with_name(f"{log_format}.log")
    arguments = (
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=debug",
        f"--log.format={log_format}",
    )
    with running_process([*program, *arguments], log) as process:
        running = Command(
            f"http://127.0.0.1:{port}", Path(f"/proc/{process.pid}/cmdline").read_text(), log
        )
        wait_until(lambda: "listening" in log.read_text(), "the exporter is started")
        yield running


def server(simulator: Simulator, name: str, auth: Mapping[str, str], **rest: object) -> Any:
    """A server's part of the configuration."""
    return {
        "name": name,
        "url": simulator.url,
        "auth": auth,
        "tls_config": {"ca_file": str(simulator.ca_file)},
        "timeout": "300ms",
        **rest,
    }


def by_password() -> dict[str, str]:
    return {"username": "demo", "password": PASSWORD}


def by_token(simulator: Simulator) -> dict[str, str]:
    """Return the configuration with a token obtained elsewhere."""
    grant = simulator.tokens.log_in("demo", PASSWORD, style="core", antiforgery=False)
    assert grant is not None
    assert TOKEN_MARK in grant.access_token
    assert TOKEN_MARK in grant.refresh_token
    return {"token": grant.access_token}


def write_config(folder: Path, servers: Sequence[Any]) -> Path:
    """As JSON, which is YAML and knows how to quote."""
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(json.dumps({"poll_interval": "1s", "servers": servers}))
    return config


class FailingServer:
    """A server that fails in one way after the other; its redirects and links lead to `elsewhere`."""

    def __init__(
        self, failures: Sequence[Failure], elsewhere: Server, certificate: Mapping[str, Path]
    ) -> None:
        self._failures = iter(failures)
        self._elsewhere = elsewhere
        world = World(sessions=0, organizations=0, activity=False, minimum=False)
        self._ids = {
            SessionRole.OPEN: world.add_session(
                creation_time=datetime.now(UTC) - timedelta(days=3)
            ),
            SessionRole.NEW: world.add_session(),
        }
        world.add_session()  # one unreadable record of a list is no failure, all of two are
        self.simulator = Simulator(
            world,
            password=PASSWORD,
            token_mark=TOKEN_MARK,
            api_versions=failures[-1].api_versions,
            cert_file=certificate["cert_file"],
            key_file=certificate["key_file"],
        )

    def fail(self) -> Failure | None:
        """Fail in the next way, if there is one."""
        failure = next(self._failures, None)
        if failure is not None:
            self.simulator.faults.clear()
            for fault in failure.faults:
                if fault.name != "unauthorized_once":
                    self.simulator.faults.set(
                        fault.name,
                        route=fault.route,
                        session_id=self._ids[fault.role] if fault.role else None,
                        value=fault.value,
                        target=self._elsewhere.url if "other_host" in fault.name else None,
                    )
            if any(fault.name == "unauthorized_once" for fault in failure.faults):
                # Once for each client, and when the rest is in place: polls go on meanwhile.
                self.simulator.tokens.revoke_all()
        return failure


def lasts(failure: Failure) -> bool:
    """Whether the exporter leaves the server alone for a while after it."""
    return any(fault.name.startswith(("unauthorized", "throttled")) for fault in failure.faults)


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    """A certificate that every client here trusts."""
    leaf = trustme.CA().issue_cert("127.0.0.1")
    files = {"cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "key.pem"}
    files["cert_file"].write_bytes(leaf.cert_chain_pems[0].bytes())
    files["key_file"].write_bytes(leaf.private_key_pem.bytes())
    return files


@pytest.fixture
def elsewhere(certificate: Mapping[str, Path]) -> Iterator[Server]:
    """Another server, which every client here would trust and understand."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["cert_file"], certificate["key_file"])
    server = Server(responding_with(http(b'{"offset":0,"limit":1000,"results":[]}')), context)
    yield server
    server.close()


def test_no_failure_of_the_api_leaks_a_secret(
    tmp_path: Path, elsewhere: Server, certificate: Mapping[str, Path]
) -> None:
    failures = [
        failure
        for failure in (*FAILURES, LOGIN_REDIRECTED)
        # Names are not resolved by a server of its own here.
        if all(fault.name != NAME_NOT_RESOLVED for fault in failure.faults)
    ]
    last = [failure for failure in failures if lasts(failure)]
    others = [failure for failure in failures if not lasts(failure)]
    failing = {
        f"failing {number}": FailingServer(
            [*others[number :: len(last)], failure], elsewhere, certificate
        )
        for number, failure in enumerate(last)
    }
    # What is logged does not depend on the format: every failure is met by both ways to log in, each in one format.
    formats = ("logfmt", "json", "logfmt", "json")
    configured: list[list[Any]] = [[] for _ in formats]
    outputs = []
    with ExitStack() as stack:
        for number, (name, one) in enumerate(failing.items()):
            simulator = stack.enter_context(one.simulator)
            configured[number % 4].append(server(simulator, name, by_password()))
            configured[(number + 1) % 4].append(
                server(simulator, f"{name}, by token", by_token(simulator))
            )
        proxy = f"http://monitoring:{PROXY_MARK}@127.0.0.1:{free_port()}"
        unreachable = server(simulator, "unreachable", by_password(), proxy_url=proxy)
        unknown = server(simulator, "unknown", by_password(), url="https://vb365.invalid:4443")
        commands = [
            stack.enter_context(
                command(
                    write_config(tmp_path / str(number), [*servers, unreachable, unknown]),
                    formats[number],
                )
            )
            for number, servers in enumerate(configured)
        ]
        for each, servers in zip(commands, configured, strict=True):
            wait_until(
                lambda each=each, servers=servers: (  # type: ignore[misc] # the same
                    len(servers) == sum(each.values("vb365_up").values())
                ),
                "all servers are up that can be reached",
                60,
                pause_seconds=0.25,
            )
            outputs.append(each.pages())
        while failing_now := {
            name: failure for name, one in failing.items() if (failure := one.fail()) is not None
        }:
            wait_for_polls(commands, 2)
            for each in commands:
                outputs.append(each.pages())
                ups = each.values("vb365_up")
                assert [
                    failure
                    for name, failure in failing_now.items()
                    if failure.handling.reason and ups.get(name)
                ] == []
        outputs += [each.cmdline for each in commands]
    # They have ended by now, and logged out where they could.
    log = "\n".join(each.log.read_text() for each in commands)

    assert leaks("\n".join([*outputs, log]), *MARKS) == []
    assert elsewhere.connections == 0
    reasons = {failure.handling.reason for failure in failures} - {None}
    assert [reason for reason in reasons if f"reason={reason} " not in log] == []
    assert [reason for reason in reasons if f'"reason": "{reason}"' not in log] == []


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_no_traceback_leaks_a_secret(tmp_path: Path, log_format: str) -> None:
    with Simulator(password=PASSWORD, token_mark=TOKEN_MARK) as simulator:
        servers = [
            server(simulator, "login", by_password()),
            server(simulator, "list", by_token(simulator)),
            server(simulator, "publish", by_token(simulator)),
        ]
        config = write_config(tmp_path / "exporter", servers)
        with command(config, log_format, [sys.executable, "-c", CRASHING]) as crashing:
            down = {"login": 0.0, "list": 0.0, "publish": 0.0}
            wait_until(lambda: crashing.values("vb365_up") == down, "a poll of each server")
            pages = crashing.pages()
    log = crashing.log.read_text()

    assert leaks(pages + log + crashing.cmdline, *MARKS) == []
    assert log.count("poll aborted by unexpected error") == 3
    assert log.count("poll not completed, server shown as down") == 1
    assert log.count("LookupError: injected") == 4


@pytest.mark.parametrize(
    "servers",
    [
        f"""
  - {{url: 'https://u:{PASSWORD_MARK}@a', auth: {{username: u, pasword: {PASSWORD_MARK}}}}}
  - {{url: 'https://b', auth: {{username: u, password: [{PASSWORD_MARK}]}}}}
  - {{url: 'https://c', auth: {TOKEN_MARK}, proxy_url: 'ftp://u:{PROXY_MARK}@p'}}
  - {{url: 'https://d', auth: {{token: "{TOKEN_MARK} {TOKEN_MARK}"}}}}
""",
        f"""
  - {{url: 'https://a', auth: {{username: u, password: "{PASSWORD_MARK}}}}}
""",
    ],
    ids=["mistakes", "no YAML"],
)
def test_no_mistake_in_the_configuration_leaks_a_secret(tmp_path: Path, servers: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"servers:{servers}")

    checked = run_exporter(f"--config.file={config}", "--config.check")
    started_with_it = run_exporter(f"--config.file={config}", "--log.level=debug")

    assert (checked.returncode, started_with_it.returncode) == (1, 1)
    for done in (checked, started_with_it):
        assert done.stderr
        assert leaks(done.stdout + done.stderr, *MARKS) == []


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD),
        quote_plus(PASSWORD),
        json.dumps(PASSWORD),
        repr(PASSWORD),
        PASSWORD.upper(),
        PASSWORD.encode().hex(),
        *(b64encode(f"{user}:{PASSWORD}".encode()).decode() for user in ("a", "ab", "abc")),
        urlsafe_b64encode(PASSWORD.encode()).decode(),
    ],
)
def test_a_leaked_secret_is_found_in_every_form(form: str) -> None:
    assert len(leaks(f"GET /metrics {form} HTTP/1.1", *MARKS)) == 1
    assert leaks(f"GET /metrics {form} HTTP/1.1", "another1") == []
