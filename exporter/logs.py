"""Log lines as Prometheus 3 writes them, one line per event, for structlog and the standard library."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TextIO

import structlog

__all__ = ["LogFormat", "LogLevel", "configure", "log_uncaught", "set_level"]

LogFormat = Literal["logfmt", "json"]
LogLevel = Literal["debug", "info", "warn", "error"]

_THRESHOLDS = MappingProxyType(
    {
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "warn": logging.WARNING,
        "error": logging.ERROR,
    }
)
_HEAD = ("time", "level", "source", "msg")

_BARE_VALUE = re.compile(r'[^\s"=\\]+')
_KEY_BREAKER = re.compile(r"[^A-Za-z0-9_.\-/]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = MappingProxyType({"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"})

Fields = dict[str, object]


def configure(*, level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send all log events of the process, and its warnings, to one stream.

    Args:
        level: the least severe events that are written.
        log_format: `logfmt` or `json`.
        stream: where lines go; None is standard error.
    """
    render = _RENDERERS[log_format]
    handler = _LineHandler(stream or sys.stderr, render)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                _Renderer(render),
            ]
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
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers = [handler]
    # What it warns of fails a request, which is told once; it would say so at every request, and quote the server.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    set_level(level)


def set_level(level: LogLevel) -> None:
    """Change the least severe events that are written from now on."""
    logging.getLogger().setLevel(_THRESHOLDS[level])


def log_uncaught() -> None:
    """Write exceptions that nobody caught, in any thread, as log events instead of tracebacks."""
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

    sys.excepthook = in_main
    threading.excepthook = in_thread


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; what goes wrong meanwhile is at most one line, too."""

    def __init__(self, stream: TextIO, render: Callable[[Fields], str]) -> None:
        super().__init__(stream)
        self._render = render

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        fields: Fields = {
            "time": _timestamp(record.created),
            "level": "ERROR",
            "source": f"{record.filename}:{record.lineno}",
            "msg": "log event lost",
            "reason": repr(sys.exception()),
        }
        try:
            self.stream.write(self._render(fields) + self.terminator)
        except (OSError, ValueError):
            return  # the stream is gone, and nobody is left to tell


class _Renderer:
    """The last processor: an event becomes its line."""

    def __init__(self, render: Callable[[Fields], str]) -> None:
        self._render = render

    def __call__(self, _logger: object, _method: str, event: Mapping[str, Any]) -> str:
        record: logging.LogRecord = event["_record"]
        fields: Fields = {
            "time": _timestamp(record.created),
            "level": _level(record.levelno),
            "source": f"{record.filename}:{record.lineno}",
            "msg": _text(event.get("event")),
        }
        if not event["_from_structlog"]:
            fields["logger"] = record.name
        names = {"exception": "traceback"}
        for key, value in event.items():
            if key not in {"_record", "_from_structlog", "event"}:
                name = names.get(key, key)
                fields[f"{name}_" if name in _HEAD else name] = value
        return self._render(fields)


def _timestamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(number: int) -> str:
    """Prometheus has four levels."""
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARN"
    return "INFO" if number >= logging.INFO else "DEBUG"


def _logfmt(fields: Fields) -> str:
    return " ".join(
        f"{_KEY_BREAKER.sub('_', key)}={_quoted(value)}" for key, value in fields.items()
    )


def _quoted(value: object) -> str:
    text = _text(value)
    if _BARE_VALUE.fullmatch(text) and text.isprintable():
        return text
    return '"' + "".join(_ESCAPES.get(c) or _printable(c) for c in text) + '"'


def _printable(character: str) -> str:
    """As Go's strconv.Quote: what is not printable, or would reorder the line, is escaped."""
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _json(fields: Fields) -> str:
    # ASCII only: U+2028 and U+0085 end a line for some readers.
    return json.dumps({key: _json_value(value) for key, value in fields.items()})


def _json_value(value: object) -> object:
    """Numbers, truth values and null stay what they are; NaN and infinities are no JSON."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _SURROGATE.sub("\ufffd", _text(value))


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value that cannot be printed must not cost the event
        return f"<unprintable {type(value).__name__}>"


_RENDERERS: Mapping[str, Callable[[Fields], str]] = MappingProxyType(
    {"logfmt": _logfmt, "json": _json}
)
