"""Log lines in the format of Prometheus 3, one per event, for structlog and the standard library."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from exporter.system.standard_error import standard_error_writer
from exporter.text import format_instant, replace_surrogates

LogFormat = Literal["logfmt", "json"]
LogLevel = Literal["debug", "info", "warn", "error"]

_RENAMED_FIELDS = {
    "exception": "traceback",
    **{name: f"{name}_" for name in ("time", "level", "source", "msg")},
}

_UNQUOTED_VALUE = re.compile(r'[^\s"=\\]+')
_INVALID_IN_KEY = re.compile(r"[^A-Za-z0-9_.\-/]")
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}

Renderer = Callable[[WrappedLogger, str, EventDict], str]


def configure(*, level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Write all log events and Python warnings of the process to one stream.

    Events from structlog and from the standard library pass through the same `ProcessorFormatter`.

    Args:
        level: the lowest level that is written.
        log_format: `logfmt` or `json`.
        stream: the stream, written by the thread that logs. None for standard error, which delays no thread: what does
            not fit into a queue is dropped and counted. A process without standard error has no log.
    """
    render = _RENDERERS[log_format]
    write = standard_error_writer(_report_dropped) if stream is None else partial(_write, stream)
    handler = _LineHandler(write, render)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                _add_standard_fields,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers = [handler]
    # Its warnings would repeat for each request and quote the server; a failed request is logged once by its caller.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # The same for each kind of cookie that the standard library rejects with a warning and a traceback.
    warnings.filterwarnings("ignore", "http.cookiejar bug!")
    set_level(level)


def set_level(level: LogLevel) -> None:
    """Change the lowest level that is written."""
    logging.getLogger().setLevel(level.upper())


def log_uncaught() -> None:
    """Log uncaught exceptions of all threads, and those that Python ignores, as events instead of tracebacks."""
    log = structlog.get_logger(__name__)

    def in_main(
        kind: type[BaseException], value: BaseException, trace: TracebackType | None
    ) -> None:
        log.error("uncaught exception", exc_info=(kind, value, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            name = args.thread.name if args.thread else None
            exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("uncaught exception", thread=name, exc_info=exc_info)

    def ignored(args: sys.UnraisableHookArgs) -> None:
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("exception ignored", where=type(args.object).__name__, exc_info=exc_info)

    sys.excepthook = in_main
    threading.excepthook = in_thread
    sys.unraisablehook = ignored


class _LineHandler(logging.Handler):
    """Writes lines; an event that cannot be formatted is replaced by a line that reports its loss."""

    def __init__(self, write: Callable[[str], object], render: Renderer) -> None:
        super().__init__()
        self._write = write
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a defect of an event must not fail what it reports
            lost = {"level": "ERROR", "msg": "log event lost", "reason": repr(error)}
            line = self._render(None, "error", _standard_fields(record, "") | lost)
        with suppress(OSError, ValueError):  # the stream cannot be written, and there is no other
            self._write(line)


def _write(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def _report_dropped(events: int) -> None:
    structlog.get_logger(__name__).warning(
        "log events dropped, standard error was blocked", events=events
    )


def _add_standard_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Put Prometheus' standard fields first, and rename other fields with the same names."""
    fields = _standard_fields(event_dict["_record"], event_dict.pop("event", None))
    return fields | {_RENAMED_FIELDS.get(key, key): value for key, value in event_dict.items()}


def _standard_fields(record: logging.LogRecord, message: object) -> dict[str, object]:
    created = datetime.fromtimestamp(record.created, UTC)
    return {
        "time": format_instant(created, "milliseconds"),
        "level": _level(record.levelno),
        "source": f"{record.filename}:{record.lineno}",
        "msg": _text(message),
    }


def _level(number: int) -> str:
    """Return the name of the closest of Prometheus' four levels."""
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARN"
    return "INFO" if number >= logging.INFO else "DEBUG"


def _logfmt(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    return " ".join(
        f"{_INVALID_IN_KEY.sub('_', key)}={_quote(value)}" for key, value in event_dict.items()
    )


def _quote(value: object) -> str:
    text = _text(value)
    if _UNQUOTED_VALUE.fullmatch(text) and text.isprintable():
        return text
    return '"' + "".join(_ESCAPES.get(c) or _escape(c) for c in text) + '"'


def _escape(character: str) -> str:
    """Escape, like Go's `strconv.Quote`, a character that is not printable or would reorder the line."""
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    # Only ASCII is written: some readers treat U+2028 and U+0085 as line ends.
    return json.dumps({key: _json_value(value) for key, value in event_dict.items()})


def _json_value(value: object) -> object:
    """Keep finite numbers, booleans and null; convert everything else to text, as JSON has no NaN or infinity."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return replace_surrogates(_text(value))


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value that cannot be formatted must not lose the event
        return f"<unprintable {type(value).__name__}>"


_RENDERERS: Mapping[LogFormat, Renderer] = {"logfmt": _logfmt, "json": _json}
