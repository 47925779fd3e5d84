"""A token endpoint's answer: the tokens, and the moments that decide about them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exporter.vb365.errors import BadResponseError

__all__ = ["Bearer", "TokenPair", "is_sendable", "parse_token_response"]

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,32768}")
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]{1,32768}")

_DOCUMENTED_LIFETIME_SECONDS: Final = 3600.0
_SHORTEST_LIFETIME_SECONDS: Final = 1.0
_LONGEST_LIFETIME_SECONDS: Final = 30 * 86400.0
_LONGEST_MARGIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Bearer:
    """An access token. The generation tells it from the one before, also when their texts are equal."""

    value: str
    generation: int

    def __repr__(self) -> str:
        return f"<bearer token {self.generation}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TokenPair:
    """A pair of tokens and the moments, on the monotonic clock, that decide about them."""

    bearer: Bearer
    refresh_token: str | None
    refresh_at: float
    expires_at: float
    renewed_at: float | None = None
    """When it replaced one that was refused, None when it came otherwise."""


def is_sendable(token: str) -> bool:
    """Whether this can be a bearer token: what goes into a header must not be able to end it."""
    return _VISIBLE_ASCII.fullmatch(token) is not None


def parse_token_response(
    answer: object, *, asked_at: float, generation: int, renewed_at: float | None
) -> TokenPair:
    """Read the token endpoint's answer.

    Raises:
        BadResponseError: it holds no access token that can be sent.
    """
    if not isinstance(answer, Mapping):
        raise BadResponseError("the answer is no JSON object", operation="token")
    access_token = answer.get("access_token")
    if not isinstance(access_token, str) or not is_sendable(access_token):
        raise BadResponseError(
            "the answer holds no access token that can be sent", operation="token"
        )
    refresh_token = answer.get("refresh_token")
    if not isinstance(refresh_token, str) or not _PRINTABLE_ASCII.fullmatch(refresh_token):
        refresh_token = None  # one that no form can hold is as good as none (RFC 6749, A.17)
    lifetime_seconds = _lifetime_seconds(answer.get("expires_in"))
    margin_seconds = min(_LONGEST_MARGIN_SECONDS, lifetime_seconds / 10)
    return TokenPair(
        bearer=Bearer(value=access_token, generation=generation),
        refresh_token=refresh_token,
        refresh_at=asked_at + lifetime_seconds - margin_seconds,
        expires_at=asked_at + lifetime_seconds,
        renewed_at=renewed_at,
    )


def _lifetime_seconds(expires_in: object) -> float:
    """`expires_in`, which some servers send as text; an hour, the documented default, when it makes no sense.

    `.expires` is not looked at: its format differs between versions, and it is the server's clock.
    """
    seconds = math.nan
    if isinstance(expires_in, int | float | str) and not isinstance(expires_in, bool):
        try:
            seconds = float(expires_in)
        except (ValueError, OverflowError):
            seconds = math.nan
    if not math.isfinite(seconds):
        return _DOCUMENTED_LIFETIME_SECONDS
    return min(max(seconds, _SHORTEST_LIFETIME_SECONDS), _LONGEST_LIFETIME_SECONDS)
