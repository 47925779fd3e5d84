"""TLS, client certificates and passwords: the real command, with curl and a real Prometheus as clients.

There are two generations of everything secret. At first the exporter has those of the first one, so that
the second one's are wrong; then all files are exchanged, and it is the other way round.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml

from support.processes import EXPORTER, debian_program, free_port, run_exporter, running_process
from support.prometheus_process import running_prometheus
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "deploy" / "web-config.example.yml"
MODES = ("plain", "tls", "mtls", "basic", "tls_basic")
CREDENTIALS = ("first", "second", "none")

OPEN = {"plain"}
TLS = {"tls", "mtls", "tls_basic"}

CURL_REFUSALS = {
    "tls": "exit 60: SSL certificate problem",
    "mtls": "exit 56: ",
    "basic": "401",
    "tls_basic": "401",
}
PROMETHEUS_REFUSALS = {
    "tls": "x509: certificate signed by unknown authority",
    "mtls": "remote error: tls: ",
    "basic": "server returned HTTP status 401 Unauthorized",
    "tls_basic": "server returned HTTP status 401 Unauthorized",
}


class Generation:
    """Authorities, certificates and a password that belong together."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        servers, clients = trustme.CA(), trustme.CA()
        servers.cert_pem.write_to_path(str(directory / "ca.crt"))
        clients.cert_pem.write_to_path(str(directory / "client-ca.crt"))
        for name, leaf in (
            ("server", servers.issue_cert("127.0.0.1")),
            ("client", clients.issue_cert("prometheus.example")),
        ):
            leaf.cert_chain_pems[0].write_to_path(str(directory / f"{name}.crt"))
            leaf.private_key_pem.write_to_path(str(directory / f"{name}.key"))
        self.password = f"password of the {directory.name} generation"
        self.hash = bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(6)).decode()

    def equip(self, mode: str, directory: Path) -> None:
        """Write, or exchange, the files of an exporter."""
        tls: dict[str, str] = {}
        if mode in TLS:
            tls = {"cert_file": "server.crt", "key_file": "server.key"}
        if mode == "mtls":
            tls |= {
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": "client-ca.crt",
            }
        users = {"alice": self.hash} if mode.endswith("basic") else {}
        for name in ("server.crt", "server.key", "client-ca.crt"):
            _exchange(directory / name, (self.directory / name).read_text())
        text = yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": users})
        _exchange(directory / "web.yml", text)


def _exchange(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@dataclass(frozen=True)
class House:
    """Exporters in all modes, with the files that their clients need."""

    directory: Path
    first: Generation
    second: Generation
    addresses: dict[str, str]

    @property
    def both(self) -> Path:
        """The authorities of both generations' servers."""
        return self.directory / "both.crt"

    def generation(self, credentials: str) -> Generation | None:
        return {"first": self.first, "second": self.second}.get(credentials)

    def exchange(self, generation: Generation) -> None:
        for mode in MODES:
            generation.equip(mode, self.directory / mode)

    def curl(self, mode: str, credentials: str) -> str:
        """What a curl with these credentials gets: the status, or how it failed."""
        who = self.generation(credentials)
        more: list[str | Path] = []
        if mode == "tls" and who is not None:
            more = ["--cacert", who.directory / "ca.crt"]
        elif mode in TLS - {"tls"}:
            more = ["--cacert", self.both]
        if who is not None and mode == "mtls":
            more += ["--cert", who.directory / "client.crt", "--key", who.directory / "client.key"]
        if who is not None and mode != "mtls":
            more += ["--user", f"alice:{who.password}"]
        return curl(f"{self.url(mode)}/metrics", *more)

    def url(self, mode: str) -> str:
        return f"{'https' if mode in TLS else 'http'}://{self.addresses[mode]}"

    def job(self, mode: str, credentials: str) -> dict[str, object]:
        """A scrape job with these credentials."""
        who = self.generation(credentials)
        tls: dict[str, str] = {}
        if mode == "tls" and who is not None:
            tls["ca_file"] = str(who.directory / "ca.crt")
        elif mode in TLS - {"tls"}:
            tls["ca_file"] = str(self.both)
        if who is not None and mode == "mtls":
            tls |= {
                f"{key}_file": str(who.directory / f"client.{end}")
                for key, end in (("cert", "crt"), ("key", "key"))
            }
        job: dict[str, object] = {
            "job_name": f"{mode} {credentials}",
            "scheme": self.url(mode).partition(":")[0],
            "tls_config": tls,
            "static_configs": [{"targets": [self.addresses[mode]]}],
        }
        if who is not None and mode != "mtls":
            job["basic_auth"] = {"username": "alice", "password": who.password}
        return job


def curl(url: str, *arguments: str | Path) -> str:
    """Return the HTTP status, or the exit status and message of curl."""
    done = subprocess.run(
        [
            *(debian_program("curl", "curl"), "-q", "--noproxy", "*", "--silent", "--show-error"),
            *("--output", "/dev/null", "--write-out", "%{http_code}", *map(str, arguments), url),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    return f"exit {done.returncode}: {done.stderr.partition(') ')[2]}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    first, second = (Generation(directory / name) for name in ("first", "second"))
    made = House(directory, first, second, {mode: f"127.0.0.1:{free_port()}" for mode in MODES})
    made.both.write_text("".join((one.directory / "ca.crt").read_text() for one in (first, second)))
    config = directory / "config.yaml"
    config.write_text(
        "poll_interval: 1d\nservers:\n"
        "  - url: https://127.0.0.1:9\n    auth: {username: a, password: b}\n"
    )
    with ExitStack() as stack:
        for mode in MODES:
            (directory / mode).mkdir()
            first.equip(mode, directory / mode)
            command = [
                *EXPORTER,
                f"--config.file={config}",
                f"--web.listen-address={made.addresses[mode]}",
                f"--web.config.file={directory / mode / 'web.yml'}",
            ]
            stack.enter_context(running_process(command, directory / mode / "log"))
        for mode in MODES:
            log = directory / mode / "log"
            wait_until(lambda log=log: "msg=started" in log.read_text(), f"{mode} serves", 30)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        yield made


@pytest.fixture(scope="module", params=["first", "second"])
def in_force(house: House, request: pytest.FixtureRequest) -> str:
    """The generation of secrets that the exporters have; they change under their eyes."""
    name: str = request.param
    generation = house.generation(name)
    assert generation is not None
    house.exchange(generation)
    return name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_curl_is_authorized_with_the_right_credentials_only(
    house: House, in_force: str, mode: str, credentials: str
) -> None:
    outcome = house.curl(mode, credentials)

    if mode in OPEN or credentials == in_force:
        assert outcome == "200"
    else:
        assert outcome.startswith(CURL_REFUSALS[mode]), outcome


@pytest.mark.usefixtures("release")
def test_prometheus_is_authorized_with_the_right_credentials_only(
    house: House, in_force: str, tmp_path: Path
) -> None:
    cases = [(mode, credentials) for mode in MODES for credentials in CREDENTIALS]
    jobs = [" ".join(case) for case in cases]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [house.job(*case) for case in cases],
    }

    with running_prometheus(yaml.safe_dump(configuration), tmp_path / "prometheus") as prometheus:
        targets: dict[str, tuple[str, str]] = {}

        def all_scraped() -> bool:
            """Whether every target was scraped, and responded in time; on a slow machine, some may not."""
            targets.update(prometheus.targets())
            found = [targets.get(job, ("unknown", "")) for job in jobs]
            return not any(
                health == "unknown" or "deadline exceeded" in error for health, error in found
            )

        wait_until(all_scraped, "every target is scraped", 60)

    for (mode, credentials), job in zip(cases, jobs, strict=True):
        health, error = targets[job]
        if mode in OPEN or credentials == in_force:
            assert (health, error) == ("up", "")
        else:
            assert health == "down"
            assert PROMETHEUS_REFUSALS[mode] in error


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/config", "/nothing"])
def test_without_credentials_no_path_is_served(house: House, path: str) -> None:
    assert curl(f"{house.url('basic')}{path}") == "401"


def test_plain_http_on_a_tls_port_gets_an_explanation(house: House) -> None:
    assert curl(f"http://{house.addresses['tls']}/metrics") == "400"


def test_client_errors_are_not_logged(house: House) -> None:
    for mode in MODES:
        log = (house.directory / mode / "log").read_text()
        assert "level=ERROR" not in log.replace("web configuration cannot be used", "")
        for generation in (house.first, house.second):
            assert generation.password not in log
            assert generation.hash not in log


def test_the_configuration_check_looks_at_the_web_configuration_too(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {alice: hunter2}\nhttp_server_config: {http2: maybe}\n")

    checked = run_exporter(
        f"--config.file={tmp_path / 'absent'}", f"--web.config.file={web}", "--config.check"
    )

    places = [line.partition(": ")[0] for line in checked.stderr.splitlines()]
    assert places == [
        str(tmp_path / "absent"),
        "basic_auth_users.alice",
        "http_server_config.http2",
    ]
    assert checked.returncode == 1
    assert "hunter2" not in checked.stderr


def test_a_web_configuration_that_cannot_be_used_ends_the_command(tmp_path: Path) -> None:
    done = run_exporter(
        "--demo", "--web.listen-address=127.0.0.1:0", f"--web.config.file={tmp_path / 'no'}"
    )

    assert done.returncode == 1
    assert "configuration cannot be used" in done.stderr


@pytest.mark.usefixtures("release")
def test_the_shipped_example_is_one_for_promtool_and_for_the_exporter(
    house: House, tmp_path: Path
) -> None:
    example = tmp_path / EXAMPLE.name
    example.write_text(EXAMPLE.read_text(encoding="utf-8"))
    tls = yaml.safe_load(example.read_text())["tls_server_config"]
    for key, name in (
        ("cert_file", "server.crt"),
        ("key_file", "server.key"),
        ("client_ca_file", "client-ca.crt"),
    ):
        (tmp_path / tls[key]).write_bytes((house.first.directory / name).read_bytes())

    by_promtool = subprocess.run(
        [debian_program("promtool", "prometheus"), "check", "web-config", example],
        capture_output=True,
        text=True,
        check=False,
    )
    (tmp_path / "config.yaml").touch(mode=0o600)
    (tmp_path / "config.yaml").write_text(
        "servers: [{url: https://vb365.example.com:4443, auth: {username: a, password: b}}]"
    )
    by_exporter = run_exporter(
        f"--config.file={tmp_path / 'config.yaml'}",
        f"--web.config.file={example}",
        "--config.check",
    )

    assert by_promtool.returncode == 0, by_promtool.stderr
    assert (by_exporter.returncode, by_exporter.stderr) == (0, "")
