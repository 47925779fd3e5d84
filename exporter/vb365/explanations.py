"""A server's own explanation of a failure, bounded and without secrets."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, quote_plus

from exporter.text import one_line
from exporter.vb365.http.body import BadBodyError, decode_json
from exporter.vb365.http.transport import Request, Response

_ERROR_CODE = re.compile(r"[A-Za-z_]{1,40}")
_SECRET_FIELDS = frozenset({"password", "refresh_token"})
_MIN_MASKED_CHARACTERS = 4
# A longer text is not quoted: to search megabytes for secrets would hold up every thread for seconds.
_MAX_QUOTED_CHARACTERS = 65_536


def explain(response: Response, request: Request) -> tuple[str, str]:
    """Return an error response's `errorCode` and its explanation as one printable line, both possibly empty.

    The secrets of the request are masked in case the server repeats them.
    """
    fields: Mapping[str, object] = {}
    with suppress(BadBodyError):
        body = decode_json(response.body)
        fields = body if isinstance(body, dict) else {}
    code = _error_code(fields.get("errorCode"))
    parts: list[object] = [
        code,
        _error_code(fields.get("error")),
        fields.get("error_description"),
        fields.get("message"),
        # The reason phrase of a 429 names the limit.
        response.reason if response.status == 429 else "",
    ]
    detail = ", ".join(part for part in parts if isinstance(part, str) and part)
    if len(detail) > _MAX_QUOTED_CHARACTERS:
        detail = code
    return code, one_line(_masked(_readable(detail), _secrets(request)))


def _error_code(value: object) -> str:
    return value if isinstance(value, str) and _ERROR_CODE.fullmatch(value) else ""


def _secrets(request: Request) -> list[str]:
    form = request.form or {}
    secrets = [form[field] for field in _SECRET_FIELDS & form.keys()]
    return [*secrets, request.bearer] if request.bearer else secrets


def _masked(text: str, secrets: list[str]) -> str:
    """Mask secrets in every escaped form. Return an empty text if a secret is so short that masking would reveal it."""
    if any(len(_readable(secret)) < _MIN_MASKED_CHARACTERS for secret in secrets):
        return ""
    spellings = {spelling.casefold() for secret in secrets for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = _without(text, spelling)
    return text


def _without(text: str, spelling: str) -> str:
    """Mask a case-folded spelling in any case. A regular expression would take the product of their lengths."""
    folded = text.casefold()
    if len(folded) != len(text):  # the characters are not at the same places
        return folded.replace(spelling, "<secret>") if spelling in folded else text
    parts = []
    start = 0
    while (found := folded.find(spelling, start)) >= 0:
        parts.append(text[start:found])
        start = found + len(spelling)
    return "<secret>".join([*parts, text[start:]])


def _spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a server may repeat a secret."""
    yield _readable(secret)
    yield quote(secret, safe="", errors="replace")
    yield quote_plus(secret, errors="replace")
    yield html.escape(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield base64.b64encode(secret.encode(errors="replace")).decode()


def _readable(text: str) -> str:
    """Return text on one line, without the unprintable characters that could hide a secret from the mask."""
    return "".join(filter(str.isprintable, re.sub(r"[\t\n\r ]+", " ", text))).strip()
