from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from exporter.config import Config, load_config
from exporter.metrics.text_format import Format
from exporter.service.reload import Reloader
from exporter.service.service import Service
from exporter.system.systemd import Notifier
from exporter.web.webconfig import AccessControl

SERVER = "servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]\n"


class Bench:
    """A service that was never started, its two files, and what reloads them."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "config.yaml"
        self.web_file = directory / "web.yml"
        self.file.write_text(SERVER)
        self.web_file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
        self.service = Service(self.load())
        self.access = AccessControl(self.web_file)
        self.reloader = Reloader(self.service, self.load, self.access, Notifier({}))

    def load(self) -> Config:
        return load_config(self.file)

    def reload_metric(self) -> str:
        """The value of vb365_exporter_config_last_reload_successful."""
        body = b"".join(self.service.publisher.exposition(Format.TEXT).chunks(gzip=False))
        return body.decode().split("\nvb365_exporter_config_last_reload_successful ")[1][:3]


def test_a_file_that_cannot_be_used_leaves_all_as_it_was_and_every_reason_is_told(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    before = bench.service.config
    bench.file.write_text(SERVER + "poll_interval: 5\nstale_after: soon\n")

    with capture_logs() as logs:
        problems = bench.reloader.reload()

    places = ["poll_interval", "stale_after"]
    assert places == [problem.partition(": ")[0] for problem in problems]
    assert places == [entry["place"] for entry in logs if entry["log_level"] == "error"]
    assert before is bench.service.config
    assert bench.reload_metric() == "0.0"


def test_a_web_configuration_that_cannot_be_used_leaves_all_as_it_was_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = bench.service.config
    bench.file.write_text(SERVER + "poll_interval: 5s\n")
    bench.web_file.write_text("basic_auth_users: {prometheus: no-hash}\n")

    (problem,) = bench.reloader.reload()

    assert problem.startswith("basic_auth_users.prometheus: ")
    assert before is bench.service.config
    assert bench.access.headers() == (("X-Frame-Options", "deny"),)
    assert bench.reload_metric() == "0.0"


def test_a_good_reload_after_a_bad_one_puts_both_files_into_force(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.file.write_text("")
    assert bench.reloader.reload()

    bench.file.write_text(SERVER + "poll_interval: 5s\n")
    bench.web_file.write_text("")

    assert bench.reloader.reload() == ()
    assert bench.service.config.poll_interval == 5.0
    assert bench.access.headers() == ()
    assert bench.reload_metric() == "1.0"
    bench.service.stop()
