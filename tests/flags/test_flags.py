from __future__ import annotations

import dataclasses
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter import __version__
from exporter.flags import ALL_SERVERS, FLAGS, Options, parse, version_line
from exporter.web.listeners import Address

ALL = Options(
    config_file=Path("/etc/vb365.yaml"),
    once=True,
    output_file=Path("/var/lib/vb365.prom"),
    web_listen_address=(Address("", 1), Address("::1", 2)),
    web_telemetry_path="/a/b.c",
    web_systemd_socket=True,
    web_enable_lifecycle=True,
    web_max_requests=7,
    shard=2,
    total_shards=3,
    web_config_file=Path("web.yml"),
    audit_log_file=Path("/var/log/vb365/audit.log"),
    log_level="warn",
    log_format="json",
)
"""Every option that can be combined, with a value other than its default."""

USAGE = "Try vb365-restore-exporter --help.\n"


def refused(
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Return the message on standard error of wrong usage."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments, environ or {})
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(USAGE)
    return captured.err.removesuffix(USAGE)


def test_without_flags_every_option_has_its_documented_default() -> None:
    expected = Options(
        config_file=Path("config.yaml"),
        config_check=False,
        demo=False,
        once=False,
        output_file=None,
        list_sessions=None,
        check_connection=False,
        check_idle=None,
        web_listen_address=(Address("", 10365),),
        web_telemetry_path="/metrics",
        web_max_requests=40,
        shard=0,
        total_shards=1,
        audit_log_file=None,
        log_level="info",
        log_format="logfmt",
    )

    assert parse([], {}) == expected
    assert Options() == expected


def test_every_flag_reaches_its_option() -> None:
    arguments = [
        "--config.file=/etc/vb365.yaml",
        "--once",
        "--output.file=/var/lib/vb365.prom",
        "--web.listen-address=:1",
        "--web.listen-address",
        "[::1]:2",
        "--web.telemetry-path=/a/b.c",
        "--web.systemd-socket",
        "--web.enable-lifecycle",
        "--web.max-requests=7",
        "--shard=2",
        "--total-shards=3",
        "--web.config.file=web.yml",
        "--audit.log-file=/var/log/vb365/audit.log",
        "--log.level=warn",
        "--log.format",
        "json",
    ]

    assert parse(arguments, {}) == ALL
    assert parse(["--config.check"], {}) == Options(config_check=True)
    assert parse(["--list-sessions", "--demo"], {}) == Options(demo=True, list_sessions="table")
    assert parse(["--list-sessions=json"], {}) == Options(list_sessions="json")
    assert parse(["--report"], {}) == Options(report="html")
    assert parse(
        [
            "--report=csv",
            "--report.since=1d",
            "--report.organization=a, b",
            "--report.organization",
            "c",
            "--output.file=r.csv",
        ],
        {},
    ) == Options(
        report="csv",
        report_since=86_400.0,
        report_organization=("a, b", "c"),
        output_file=Path("r.csv"),
    )
    assert parse(["--check-connection"], {}) == Options(check_connection=True)
    assert parse(["--check-idle"], {}) == Options(check_idle=ALL_SERVERS)
    assert parse(["--check-idle", "hq"], {}) == Options(check_idle="hq")


def test_every_flag_can_be_given_by_its_environment_variable() -> None:
    environ = {
        "VB365_EXPORTER_CONFIG_FILE": "/etc/vb365.yaml",
        "VB365_EXPORTER_ONCE": "1",
        "VB365_EXPORTER_OUTPUT_FILE": "/var/lib/vb365.prom",
        "VB365_EXPORTER_WEB_LISTEN_ADDRESS": ":1, [::1]:2,",
        "VB365_EXPORTER_WEB_TELEMETRY_PATH": "/a/b.c",
        "VB365_EXPORTER_WEB_SYSTEMD_SOCKET": "true",
        "VB365_EXPORTER_WEB_ENABLE_LIFECYCLE": "true",
        "VB365_EXPORTER_WEB_MAX_REQUESTS": "7",
        "VB365_EXPORTER_SHARD": "2",
        "VB365_EXPORTER_TOTAL_SHARDS": "3",
        "VB365_EXPORTER_WEB_CONFIG_FILE": "web.yml",
        "VB365_EXPORTER_AUDIT_LOG_FILE": "/var/log/vb365/audit.log",
        "VB365_EXPORTER_LOG_LEVEL": "warn",
        "VB365_EXPORTER_LOG_FORMAT": "JSON",
    }
    # These conflict with the others.
    checking = {"VB365_EXPORTER_CONFIG_CHECK": "1"}
    listing = {"VB365_EXPORTER_LIST_SESSIONS": "json", "VB365_EXPORTER_DEMO": "TRUE"}
    idle = {"VB365_EXPORTER_CHECK_IDLE": "*"}
    connecting = {"VB365_EXPORTER_CHECK_CONNECTION": "1"}
    reporting = {
        "VB365_EXPORTER_REPORT": "json",
        "VB365_EXPORTER_REPORT_SINCE": "30d",
        "VB365_EXPORTER_REPORT_ORGANIZATION": "a, b",
    }

    assert {*environ, *checking, *listing, *idle, *connecting, *reporting} == {
        flag.variable for flag in FLAGS
    }
    assert parse([], environ) == ALL
    assert parse([], checking) == Options(config_check=True)
    assert parse([], listing) == Options(list_sessions="json", demo=True)
    assert parse([], connecting) == Options(check_connection=True)
    assert parse([], idle) == Options(check_idle=ALL_SERVERS)
    assert parse([], reporting) == Options(
        report="json", report_since=30 * 86_400.0, report_organization=("a", "b")
    )


def test_the_flag_wins_over_the_variable_even_if_that_is_invalid() -> None:
    environ = {
        "VB365_EXPORTER_DEMO": "true",
        "VB365_EXPORTER_LOG_LEVEL": "loud",
        "VB365_EXPORTER_WEB_LISTEN_ADDRESS": ":1,:2",
    }

    options = parse(
        ["--demo=false", "--log.level=error", "--web.listen-address=:3"],
        environ,
    )

    assert (
        options.demo,
        options.log_level,
        options.web_listen_address,
    ) == (False, "error", (Address("", 3),))


def test_the_last_value_of_a_flag_that_is_not_repeatable_wins() -> None:
    assert parse(["--log.format=logfmt", "--log.format=json"], {}).log_format == "json"


def test_empty_and_unknown_variables_are_ignored() -> None:
    environ = {
        "VB365_EXPORTER_PORT": "tcp://10.0.0.1:10365",
        "VB365_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "VB365_EXPORTER_VERSION": "1.2.3",
        "VB365_EXPORTER_HELP": "true",
        "VB365_EXPORTER_LOG_LEVEL": "",
        "VB365_EXPORTER_DEMO": " ",
        "VB365_EXPORTER_WEB_LISTEN_ADDRESS": ",",
    }

    assert parse([], environ) == Options()


@pytest.mark.parametrize(
    ("text", "on"),
    [("true", True), ("1", True), ("True", True), ("false", False), ("0", False)],
)
def test_a_switch_takes_a_boolean_or_no_value(text: str, *, on: bool) -> None:
    assert parse([f"--config.check={text}"], {}).config_check is on
    assert parse([], {"VB365_EXPORTER_CONFIG_CHECK": text}).config_check is on
    assert parse(["--config.check"], {}).config_check


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("DEMO", "yes", "must be true, false, 1 or 0, not 'yes'"),
        ("LOG_LEVEL", "loud", "must be one of debug, info, warn, error, not 'loud'"),
        ("LOG_FORMAT", "xml", "must be one of logfmt, json, not 'xml'"),
        ("WEB_MAX_REQUESTS", "-1", "must be a whole number, 0 for no limit, not '-1'"),
        ("LIST_SESSIONS", "true", "must be one of table, json, not 'true'"),
        ("SHARD", "vb365-0", "must be a whole number from 0 to 999, not 'vb365-0'"),
        (
            "WEB_LISTEN_ADDRESS",
            ":1,x",
            "must be an address such as :10365, 127.0.0.1:10365 or [::1]:10365, not ':1, x'",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    capsys: pytest.CaptureFixture[str], variable: str, text: str, message: str
) -> None:
    name = f"VB365_EXPORTER_{variable}"

    assert (
        refused(capsys, environ={name: text})
    ) == f"vb365-restore-exporter: error: environment variable {name}: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["config.yaml"], "unrecognized arguments: config.yaml"),
        (["-config.check"], "unrecognized arguments: -config.check"),
        (["--config.chec"], "unrecognized arguments: --config.chec"),
        (["--log.level"], "argument --log.level: expected one argument"),
        (["--log.level="], "--log.level: must be one of debug, info, warn, error, not ''"),
        (["--config.check=maybe"], "--config.check: must be true, false, 1 or 0, not 'maybe'"),
        (["--config.file="], "--config.file: must be the name of a file, not ''"),
        (["--web.max-requests=1.5"], "--web.max-requests: must be a whole number, 0 for no limit"),
        (["--web.telemetry-path=metrics"], "--web.telemetry-path: must be a path such as /metrics"),
        (["--web.telemetry-path=/a?b"], "--web.telemetry-path: must be a path such as /metrics"),
        (["--web.telemetry-path=/a/"], "--web.telemetry-path: must be a path such as /metrics"),
        (["--web.telemetry-path={x}"], "--web.telemetry-path: must be a path such as /metrics"),
        (
            ["--web.telemetry-path=/-/healthy"],
            "--web.telemetry-path: must be a path that serves nothing else",
        ),
        (
            ["--web.listen-address=10365"],
            "--web.listen-address: must be an address such as :10365, 127.0.0.1:10365 or [::1]:10365",
        ),
        (
            ["--web.listen-address=:65536"],
            "--web.listen-address: must have a port from 0 to 65535, not ':65536'",
        ),
        (["--list-sessions=xml"], "--list-sessions: must be one of table, json, not 'xml'"),
        (["--report=pdf"], "--report: must be one of html, csv, json, not 'pdf'"),
        (
            ["--report", "--report.since=59m"],
            "--report.since: must be from 1h to 36500d, not '59m'",
        ),
        (["--report", "--report.since=3m5"], "--report.since: must be a duration such as 30s"),
        (
            ["--report", "--report.organization= "],
            "--report.organization: must be the name of an organization, not ' '",
        ),
        (["--shard=-1"], "--shard: must be a whole number from 0 to 999, not '-1'"),
        (["--shard=1e3"], "--shard: must be a whole number from 0 to 999, not '1e3'"),
        (["--total-shards=0"], "--total-shards: must be a whole number from 1 to 1000, not '0'"),
        (["--total-shards=1001"], "--total-shards: must be a whole number from 1 to 1000"),
    ],
)
def test_wrong_usage_is_status_2_and_names_the_flag(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert refused(capsys, *arguments).startswith(f"vb365-restore-exporter: error: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--once --list-sessions", "--once and --list-sessions cannot be given together"),
        ("--list-sessions=json --config.check",
         "--config.check and --list-sessions cannot be given together"),
        ("--check-connection --check-idle",
         "--check-connection and --check-idle cannot be given together"),
        ("--once --check-idle", "--once and --check-idle cannot be given together"),
        ("--config.check --once", "--config.check and --once cannot be given together"),
        ("--config.check --demo", "--config.check and --demo cannot be given together"),
        ("--output.file=a.prom",
         "--output.file is for --once and --report, neither of which is given"),
        ("--output.file=a.prom --once=false",
         "--output.file is for --once and --report, neither of which is given"),
        ("--output.file=a.prom --list-sessions",
         "--output.file is for --once and --report, neither of which is given"),
        ("--report.since=7d", "--report.since is for --report, which is not given"),
        ("--report.organization=a --once",
         "--report.organization is for --report, which is not given"),
        ("--report --check-idle", "--check-idle and --report cannot be given together"),
        ("--shard=1", "--shard (1) must be lower than --total-shards (1)"),
        ("--shard=4 --total-shards=4", "--shard (4) must be lower than --total-shards (4)"),
        ("--demo --total-shards=2", "--demo and --total-shards cannot be given together"),
        ("--once --audit.log-file=-",
         "--audit.log-file and --once both write to standard output"),
    ],
)  # fmt: skip
def test_conflicting_flags_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert refused(capsys, *arguments.split()) == f"vb365-restore-exporter: error: {message}\n"


def test_a_conflict_names_the_variable_that_it_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = {"VB365_EXPORTER_ONCE": "true"}

    assert refused(capsys, "--list-sessions", environ=environ) == (
        "vb365-restore-exporter: error: environment variable VB365_EXPORTER_ONCE and "
        "--list-sessions cannot be given together\n"
    )
    assert parse(["--list-sessions", "--once=false"], environ).list_sessions == "table"


@pytest.mark.parametrize(
    "arguments",
    ["--demo --once", "--demo --once --output.file=a.prom", "--demo --list-sessions",
     "--audit.log-file=-", "--once --audit.log-file=audit.log",
     "--once --output.file=a.prom --audit.log-file=-", "--list-sessions --audit.log-file=-",
     "--config.check --audit.log-file=-",
     "--once --shard=1 --total-shards=2", "--config.check --shard=1 --total-shards=2"],
)  # fmt: skip
def test_flags_that_go_together_are_accepted(arguments: str) -> None:
    assert parse(arguments.split(), {}) != Options()


def test_a_limit_of_0_requests_is_no_limit() -> None:
    assert parse(["--web.max-requests=0"], {}).web_max_requests == sys.maxsize


def test_the_metrics_can_replace_the_status_page() -> None:
    assert parse(["--web.telemetry-path=/"], {}).web_telemetry_path == "/"


def test_help_has_every_flag_with_its_default_in_lines_that_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})

    captured = capsys.readouterr()
    assert caught.value.code == 0
    assert captured.err == ""
    words = " ".join(captured.out.split())
    for flag in FLAGS:
        assert f"  {flag.name}" in captured.out
        assert flag.help in words
        if flag.const is None and flag.default is not None:
            assert f"Default: {flag.default}\n" in captured.out
    assert "--version" in captured.out
    assert "VB365_EXPORTER_LOG_LEVEL" in captured.out
    assert "None" not in captured.out
    for status in ("  0  ok", "  1  failure: ", "  2  wrong usage"):
        assert f"\n{status}" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 80


def test_the_help_lists_every_flag_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["-h"], {})

    lines = capsys.readouterr().out.splitlines()
    for flag in FLAGS:
        row = re.compile(rf"  {re.escape(flag.name)}(?![\w.-])")
        assert sum(bool(row.match(line)) for line in lines) == 1, flag.name


def test_version_has_the_form_of_prometheus(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--version"], {})

    expected = f"vb365-restore-exporter, version {__version__} (python {platform.python_version()})"
    assert caught.value.code == 0
    assert tuple(capsys.readouterr()) == (f"{expected}\n", "")
    assert version_line() == expected


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().demo = True  # type: ignore[misc]  # that it fails is the point


def test_each_option_is_named_after_its_flag() -> None:
    assert [flag.attribute for flag in FLAGS] == [row.name for row in dataclasses.fields(Options)]
