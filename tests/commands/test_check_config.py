from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.commands.check_config import check_config
from support.config_texts import MINIMAL, server_with

CHECKED = "keys, values, secrets and certificates were checked; no connection was made"
API_PATH = "has the path of an API version or /swagger; remove it, the exporter adds the version"

Capture = pytest.CaptureFixture[str]


def check(
    directory: Path, text: str, web: str | None = None, environ: Mapping[str, str] | None = None
) -> int:
    """Check these texts as config.yaml and web.yml of the working directory."""
    file = directory / "config.yaml"
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    if web is not None:
        (directory / "web.yml").write_text(web, encoding="utf-8")
    return check_config(
        Path("config.yaml"), None if web is None else Path("web.yml"), environ=environ or {}
    )


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_valid_file_is_one_line_on_standard_output(directory: Path, capsys: Capture) -> None:
    status = check(directory, MINIMAL)

    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert printed.out == f"config.yaml is valid: 1 server; {CHECKED}\n"


def test_servers_and_the_web_configuration_are_named(directory: Path, capsys: Capture) -> None:
    second = MINIMAL.replace("servers:\n", "").replace("vb365", "other")

    status = check(directory, MINIMAL + second, web="")

    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert printed.out == f"config.yaml is valid: 2 servers; web.yml is valid; {CHECKED}\n"


def test_a_file_with_a_password_that_every_user_can_read_is_a_warning(
    directory: Path, capsys: Capture
) -> None:
    (directory / "config.yaml").touch(mode=0o644)
    (directory / "config.yaml").chmod(0o644)

    status = check(directory, MINIMAL)

    printed = capsys.readouterr()
    assert (status, printed.err) == (
        0,
        "warning: servers[0].auth.password: config.yaml can be read by every user\n",
    )


def test_all_problems_are_lines_on_standard_error(directory: Path, capsys: Capture) -> None:
    status = check(directory, "poll_interval: 1\nservers: []\n")

    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err.splitlines() == [
        "poll_interval: must be a duration such as 30s, 5m, 1h30m or 7d",
        "servers: at least one server is required",
    ]


def test_a_problem_of_the_web_configuration_is_an_error_too(
    directory: Path, capsys: Capture
) -> None:
    status = check(directory, MINIMAL, web="basic_auth_users: {alice: secret}\n")

    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err.partition(":")[0] == "basic_auth_users.alice"


def test_warnings_do_not_change_the_status(directory: Path, capsys: Capture) -> None:
    text = f"poll_interval: 2m\n{server_with('poll_interval: 1m')}".replace(":4443", ":4443/v8")

    status = check(directory, text)

    printed = capsys.readouterr()
    assert (status, printed.out.partition(":")[0]) == (0, "config.yaml is valid")
    assert printed.err.splitlines() == [
        "warning: poll_interval: unused: every server has its own",
        f"warning: servers[0].url: {API_PATH}",
    ]


def test_a_file_with_errors_has_no_warnings(directory: Path, capsys: Capture) -> None:
    text = f"poll_interval: 2m\nstale_after: 1\n{server_with('poll_interval: 1m')}"

    status = check(directory, text)

    assert (status, capsys.readouterr().err.splitlines()) == (
        1,
        ["stale_after: must be a duration such as 30s, 5m, 1h30m or 7d"],
    )


@pytest.mark.parametrize(
    ("text", "web", "error"),
    [
        (
            "servers: []\n",
            "http_server_config: {http2: true}\n",
            "servers: at least one server is required",
        ),
        (MINIMAL.replace(":4443", ""), "unknown: 1\n", "unknown: unknown key"),
    ],
)
def test_an_error_in_one_file_hides_the_warnings_about_the_other(
    directory: Path, capsys: Capture, text: str, web: str, error: str
) -> None:
    status = check(directory, text, web=web)

    assert (status, capsys.readouterr().err.splitlines()) == (1, [error])


def test_no_line_shows_a_secret(directory: Path, capsys: Capture) -> None:
    auth = MINIMAL.replace("password: p", "password_env: PW")
    for secret in (
        "${hunter2}",
        '"hunter2"',
        "hunter2\n",
        " hunter2",
        "hunter\\\\2",
        "hunter2\xa0",
    ):
        assert check(directory, auth, environ={"PW": secret}) == 0
        printed = capsys.readouterr()
        assert printed.err.startswith("warning: servers[0].auth.password_env: ")
        assert "hunter" not in printed.err + printed.out


def test_without_standard_streams_only_the_status_remains(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)

    assert check(directory, "servers: []\n") == 1
