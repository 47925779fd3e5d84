from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from exporter.config import Config, load_config
from exporter.metrics.text_format import Format
from exporter.service.reload import Reloader
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from exporter.system.systemd import Notifier
from exporter.web.webconfig.loader import WebConfig, read_web_config
from exporter.web.webconfig.reloader import WebConfigReloader
from support.fake_clocks import SystemClocks
from support.thread_limit import no_more_threads

LONG_SECONDS = 60.0
"""Longer than any working step takes."""
SERVER = "servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]\n"


class ReloadHarness:
    """A service that is not started, its two configuration files, and its reloader.

    Attributes:
        before: called with the name of each step before it is taken.
    """

    def __init__(self, directory: Path) -> None:
        self.before: Callable[[str], object] = lambda _step: None
        self.clocks = SystemClocks()
        self.file = directory / "config.yaml"
        self.web_file = directory / "web.yml"
        self.file.write_text(SERVER)
        self.web_file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
        self.service = Service(self.load(), make_worker=self._make_worker)
        self.web_config = WebConfigReloader(self.web_file, read=self._read)
        self.reloader = Reloader(
            self.service,
            self.load,
            self.web_config,
            Notifier({}),
            monotonic=self.clocks.monotonic,
        )

    def load(self) -> Config:
        self.before("reading the configuration")
        return load_config(self.file)

    def _read(self, *arguments: Any) -> WebConfig:
        self.before("reading the web configuration")
        return read_web_config(*arguments)

    def _make_worker(self, *arguments: Any, **options: Any) -> ServerWorker:
        self.before("activating the configuration")
        return ServerWorker(*arguments, **options)

    def reload_metric(self) -> str:
        """Return the value of vb365_exporter_config_last_reload_successful."""
        body = b"".join(self.service.publisher.exposition(Format.TEXT).chunks(gzip=False))
        return body.decode().split("\nvb365_exporter_config_last_reload_successful ")[1][:3]


def test_an_invalid_configuration_changes_nothing_and_every_problem_is_reported(
    tmp_path: Path,
) -> None:
    harness = ReloadHarness(tmp_path)
    before = harness.service.config
    harness.file.write_text(SERVER + "poll_interval: 5\nstale_after: soon\n")

    with capture_logs() as logs:
        problems = harness.reloader.reload()

    places = ["poll_interval", "stale_after"]
    assert [problem.partition(": ")[0] for problem in problems] == places
    assert [entry["place"] for entry in logs if entry["log_level"] == "error"] == places
    assert harness.service.config is before
    assert harness.reload_metric() == "0.0"


def test_a_configuration_with_more_servers_than_threads_is_refused_in_one_line(
    tmp_path: Path,
) -> None:
    harness = ReloadHarness(tmp_path)
    before = harness.service.config
    harness.web_file.write_text("")

    with capture_logs() as logs, no_more_threads():
        (problem,) = harness.reloader.reload()

    assert problem.startswith("cannot start thread poll-hq: ")
    assert [entry["problem"] for entry in logs] == [problem]
    assert harness.service.config is before
    assert harness.web_config.current.headers == (("X-Frame-Options", "deny"),)
    assert harness.reload_metric() == "0.0"


def test_an_invalid_web_configuration_also_changes_nothing(tmp_path: Path) -> None:
    harness = ReloadHarness(tmp_path)
    before = harness.service.config
    harness.file.write_text(SERVER + "poll_interval: 5s\n")
    harness.web_file.write_text("basic_auth_users: {prometheus: no-hash}\n")

    (problem,) = harness.reloader.reload()

    assert problem.startswith("basic_auth_users.prometheus: ")
    assert harness.service.config is before
    assert harness.web_config.current.headers == (("X-Frame-Options", "deny"),)
    assert harness.reload_metric() == "0.0"


def test_a_certificate_without_its_key_does_not_block_the_other_settings(tmp_path: Path) -> None:
    harness = ReloadHarness(tmp_path)
    authority = trustme.CA()
    for name in ("old", "new"):
        leaf = authority.issue_cert("127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.crt"))
        leaf.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    harness.web_file.write_text("tls_server_config: {cert_file: server.crt, key_file: old.key}\n")
    (tmp_path / "old.crt").rename(tmp_path / "server.crt")
    assert harness.reloader.reload() == ()
    assert harness.reloader.problem == ""

    (tmp_path / "new.crt").rename(tmp_path / "server.crt")
    harness.file.write_text(SERVER + "poll_interval: 5s\n")
    with capture_logs() as logs:
        assert harness.reloader.reload() == ()

    assert harness.service.config.poll_interval == 5.0
    assert harness.web_config.current.protections == {"TLS"}
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "certificate cannot be used, keeping the old one"
    ]
    assert harness.reloader.problem.startswith(
        "web configuration not in use: tls_server_config.cert_file: "
    )
    harness.service.stop()


def test_the_problem_of_a_failed_reload_stays_until_one_succeeds(tmp_path: Path) -> None:
    harness = ReloadHarness(tmp_path)
    assert harness.reloader.problem == ""

    harness.file.write_text(SERVER + "poll_interval: 5\n")
    harness.reloader.reload()
    assert harness.reloader.problem.startswith("last reload failed: poll_interval: ")

    harness.file.write_text(SERVER)
    harness.reloader.reload()
    assert harness.reloader.problem == ""
    harness.service.stop()


def test_a_valid_reload_after_an_invalid_one_activates_both_files(tmp_path: Path) -> None:
    harness = ReloadHarness(tmp_path)
    harness.file.write_text("")
    assert harness.reloader.reload()

    harness.file.write_text(SERVER + "poll_interval: 5s\n")
    harness.web_file.write_text("")

    assert harness.reloader.reload() == ()
    assert harness.service.config.poll_interval == 5.0
    assert harness.web_config.current.headers == ()
    assert harness.reload_metric() == "1.0"
    harness.service.stop()


def test_an_unexpected_error_is_a_failed_reload_and_not_the_end_of_the_process(
    tmp_path: Path,
) -> None:
    class Failing(ReloadHarness):
        broken = False

        def load(self) -> Config:
            if self.broken:
                raise MemoryError
            return super().load()

    harness = Failing(tmp_path)
    before = harness.service.config
    harness.broken = True

    with capture_logs() as logs:
        problems = harness.reloader.reload()

    assert problems == ("internal: MemoryError",)
    assert [entry["event"] for entry in logs] == ["configuration not reloaded, keeping the old one"]
    assert harness.service.config is before
    assert harness.reload_metric() == "0.0"


@pytest.mark.parametrize(
    ("step", "successful"),
    [
        ("reading the configuration", "0.0"),
        ("reading the web configuration", "0.0"),
        ("activating the configuration", "1.0"),
    ],
)
def test_a_step_that_does_not_end_is_reported_once_and_until_it_ends(
    tmp_path: Path, step: str, successful: str
) -> None:
    harness = ReloadHarness(tmp_path)
    hanging, well = Event(), Event()

    def hang(begun: str) -> None:
        if begun == step:
            hanging.set()
            assert well.wait(LONG_SECONDS)

    harness.before = hang
    reload = Thread(target=harness.reloader.reload)

    with capture_logs() as logs:
        harness.reloader.check_progress()
        reload.start()
        assert hanging.wait(LONG_SECONDS)
        harness.clocks.passed_seconds += 9.0
        harness.reloader.check_progress()
        assert (logs, harness.reloader.problem, harness.reload_metric()) == ([], "", "1.0")

        harness.clocks.passed_seconds += 1.0
        harness.reloader.check_progress()
        harness.reloader.check_progress()
        assert harness.reloader.problem == f"reload does not end: {step}"
        assert harness.reload_metric() == successful

        well.set()
        reload.join()
        harness.clocks.passed_seconds += 10.0
        harness.reloader.check_progress()

    assert [(entry["event"], entry.get("step")) for entry in logs] == [
        ("reload does not end, further reloads wait for it", step),
        ("configuration reloaded", None),
    ]
    assert (harness.reloader.problem, harness.reload_metric()) == ("", "1.0")
    harness.service.stop()
