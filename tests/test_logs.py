from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config import SecretSource
from exporter.logs import LogFormat, LogLevel, configure, log_uncaught, set_level
from support.waiting import wait_until

STANDARD_FIELDS = re.compile(
    r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=(DEBUG|INFO|WARN|ERROR) "
    r"source=[a-z_]+\.py:\d+ msg="
)


class Unprintable:
    """A value that cannot be formatted."""

    def __str__(self) -> str:
        raise ValueError("no")


class Lines(io.StringIO):
    """A stream that returns the lines written to it."""

    def take(self) -> list[str]:
        """Return the lines written since the last call; each must be complete."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        assert not text or text.endswith("\n")
        return text.split("\n")[:-1]

    def one(self) -> str:
        (line,) = self.take()
        return line

    def rest(self) -> str:
        """Return the only line without time, level and source."""
        return self.one().partition(" msg=")[2]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Restore the process-wide logging configuration after each test."""
    root = logging.getLogger()
    handlers, level, logger_class = root.handlers[:], root.level, logging.getLoggerClass()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.setLoggerClass(logger_class)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def lines_for(level: LogLevel = "info", log_format: LogFormat = "logfmt") -> Lines:
    stream = Lines()
    configure(level=level, log_format=log_format, stream=stream)
    return stream


def test_a_line_has_the_keys_of_prometheus_in_its_order() -> None:
    lines = lines_for()

    structlog.get_logger().warning("login refused", server="hq", attempts=3)

    line = lines.one()
    assert STANDARD_FIELDS.match(line)
    assert re.search(r" level=WARN source=test_logs\.py:\d+ msg=\"login refused\" ", line)
    assert line.endswith(' msg="login refused" server=hq attempts=3')


def test_the_source_is_the_line_that_logs() -> None:
    lines = lines_for()

    structlog.get_logger().info("here")
    logging.getLogger("other").info("and here")

    first, second = (re.search(r"source=test_logs\.py:(\d+)", line) for line in lines.take())
    assert first is not None
    assert second is not None
    assert int(second[1]) == int(first[1]) + 1


def test_a_logger_created_before_the_configuration_writes_the_same() -> None:
    log = structlog.get_logger()
    lines = lines_for()

    log.info("started")

    assert lines.rest() == "started"


def test_the_time_is_utc_with_milliseconds() -> None:
    lines = lines_for()
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, "msg", None, None)
    record.created = 1767323045.678

    logging.getLogger().handle(record)

    assert lines.one() == "time=2026-01-02T03:04:05.678Z level=INFO source=a.py:1 msg=msg logger=a"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["DEBUG", "INFO", "WARN", "ERROR", "ERROR"]),
        ("info", ["INFO", "WARN", "ERROR", "ERROR"]),
        ("warn", ["WARN", "ERROR", "ERROR"]),
        ("error", ["ERROR", "ERROR"]),
    ],
)
def test_events_below_the_level_are_not_written(level: LogLevel, written: list[str]) -> None:
    lines = lines_for(level)

    for log in (structlog.get_logger(), logging.getLogger("other")):
        log.debug("x")
        log.info("x")
        log.warning("x")
        log.error("x")
        log.critical("x")

        assert [line.split()[1].removeprefix("level=") for line in lines.take()] == written


def test_the_level_can_be_changed_while_running() -> None:
    lines = lines_for("error")
    log = structlog.get_logger()
    log.info("hidden")

    set_level("debug")
    log.debug("shown")

    assert lines.rest() == "shown"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("C:\\temp", r'"C:\\temp"'),
        ("a\nb\r\tc", r'"a\nb\r\tc"'),
        ("\x00\x1b[31m\x7f", r'"\x00\x1b[31m\x7f"'),
        ("a\u2028b\u202ec\x80", r'"a\u2028b\u202ec\u0080"'),
        ("\ud800", r'"\ud800"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("München", "München"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        (Path("/etc/x"), "/etc/x"),
        (["a", 1], "\"['a', 1]\""),
        (SecretSource(value="hunter2"), "<secret>"),
        (Unprintable(), '"<unprintable Unprintable>"'),
    ],
)
def test_values_in_logfmt_are_quoted_where_necessary(value: object, written: str) -> None:
    lines = lines_for()

    structlog.get_logger().info("x", key=value)

    assert lines.rest() == f"x key={written}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a\nb\u2028", "a\nb\u2028"),
        ("\ud800", "\ufffd"),
        (None, None),
        (True, True),
        (7, 7),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (Decimal(1), "1"),
        (Path("/etc/x"), "/etc/x"),
        (SecretSource(value="hunter2"), "<secret>"),
        (Unprintable(), "<unprintable Unprintable>"),
    ],
)
def test_values_in_json_are_json(value: object, written: object) -> None:
    lines = lines_for(log_format="json")

    structlog.get_logger().info("x", key=value)

    line = lines.one()
    assert line.isascii()
    fields = json.loads(line)
    assert list(fields) == ["time", "level", "source", "msg", "key"]
    assert (fields["level"], fields["msg"], fields["key"]) == ("INFO", "x", written)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    event=st.text(st.characters()),
    value=st.text(st.characters()),
    log_format=st.sampled_from(["logfmt", "json"]),
)
def test_every_event_is_one_line(event: str, value: str, log_format: LogFormat) -> None:
    lines = lines_for(log_format=log_format)

    structlog.get_logger().info(event, value=value)

    assert len(lines.one().splitlines()) == 1


def test_an_event_cannot_overwrite_or_repeat_the_standard_fields() -> None:
    lines = lines_for()

    structlog.get_logger().info("x", level="y", time="z", source="s", msg="m")

    assert lines.rest() == "x level_=y time_=z source_=s msg_=m"


def test_invalid_characters_in_keys_are_replaced() -> None:
    lines = lines_for()

    structlog.get_logger().info("x", **{"a b=\n": 1})

    assert lines.rest() == "x a_b__=1"


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_a_traceback_is_one_field_of_the_line(log_format: LogFormat) -> None:
    lines = lines_for(log_format=log_format)
    for log in (structlog.get_logger(), logging.getLogger("asyncio")):
        try:
            int("first\nsecond")
        except ValueError:
            log.exception("poll failed")

        line = lines.one()
        assert re.search(r" traceback=\"Traceback|, \"traceback\": \"Traceback", line)
        assert "ValueError: invalid literal" in line
        assert r"Traceback (most recent call last):\n" in line


def test_an_event_of_the_standard_library_has_the_name_of_its_logger() -> None:
    lines = lines_for()

    logging.getLogger("asyncio.base").warning("waiting for %s\n%s", "a", "b")

    assert lines.rest() == r'"waiting for a\nb" logger=asyncio.base'


def test_warnings_are_log_events() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        lines = lines_for()
        warnings.warn("unverified request", stacklevel=1)
        logging.captureWarnings(capture=False)

    line = lines.one()
    assert " level=WARN " in line
    assert "UserWarning: unverified request" in line


def test_warnings_that_a_library_repeats_at_every_request_are_not_written() -> None:
    lines = lines_for("debug")

    logging.getLogger("urllib3.connection").warning("Failed to parse headers")
    warnings.warn("http.cookiejar bug!\nTraceback", stacklevel=1)
    logging.captureWarnings(capture=False)

    assert lines.take() == []


def test_positional_arguments_are_part_of_the_message() -> None:
    lines = lines_for()

    structlog.get_logger().info("%d servers", 3)

    assert lines.rest() == '"3 servers"'


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_event_that_cannot_be_formatted_is_replaced_by_one_line(log_format: LogFormat) -> None:
    lines = lines_for(log_format=log_format)

    logging.getLogger("other").info("%d", "x")

    line = lines.one()
    assert "log event lost" in line
    assert "real number is required" in line


def test_a_closed_stream_is_not_an_error() -> None:
    lines = lines_for()
    lines.close()

    structlog.get_logger().info("x")


def test_configuring_twice_does_not_write_twice() -> None:
    lines_for()
    lines = lines_for()

    structlog.get_logger().info("x")

    assert lines.rest() == "x"


def test_lines_go_to_standard_error_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    configure(level="info", log_format="logfmt")

    structlog.get_logger().info("x")

    out: list[str] = []
    err: list[str] = []

    def written() -> bool:
        captured = capfd.readouterr()
        out.append(captured.out)
        err.append(captured.err)
        return "".join(err).endswith(" msg=x\n")

    wait_until(written, "the line")
    assert "".join(out) == ""


def test_without_standard_error_events_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure(level="info", log_format="logfmt")

    structlog.get_logger().info("x")


def test_uncaught_exceptions_are_log_events() -> None:
    lines = lines_for()
    log_uncaught()

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail, name="poller-hq")
    thread.start()
    thread.join()
    line = lines.one()
    assert "level=ERROR source=" in line
    assert 'msg="uncaught exception" thread=poller-hq traceback="Traceback' in line
    assert "RuntimeError: in a thread" in line

    error = RuntimeError("in main")
    sys.excepthook(RuntimeError, error, None)
    assert "RuntimeError: in main" in lines.one()


def test_an_exception_that_python_ignores_is_a_log_event() -> None:
    class Failing:
        def __del__(self) -> None:
            raise RuntimeError("in a finalizer")

    lines = lines_for()
    log_uncaught()

    Failing()

    line = lines.one()
    assert 'msg="exception ignored" where=function traceback="Traceback' in line
    assert "RuntimeError: in a finalizer" in line


def test_a_thread_that_exits_is_not_logged() -> None:
    lines = lines_for()
    log_uncaught()

    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()

    assert lines.take() == []
