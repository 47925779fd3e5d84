"""The token endpoint `POST /{version}/token`, in the style of older and newer servers."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal, get_args
from urllib.parse import parse_qsl

from aiohttp import web

from exporter.simulator.api.documents import dumps
from exporter.simulator.api.routes import ApiError, Call
from exporter.simulator.api.tokens import Style, Throttle, ThrottledError, TokenPair, TokenStore

TokenStyle = Literal["auto", "owin", "core"]

# The name is the simulator's own; that of real servers is not known.
_COOKIE = "XSRF-TOKEN"
_TRUE = frozenset({"true", "1"})


def is_loopback(request: web.BaseRequest) -> bool:
    """Whether the request comes from this machine."""
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@dataclass(slots=True, kw_only=True)
class Login:
    """Handles token requests and authorizes other requests.

    `style` auto means owin for v6, and core for v7 and v8. `throttle_loopback` applies the rate limits to loopback, too.
    """

    tokens: TokenStore
    throttle: Throttle
    style: TokenStyle = "auto"
    throttle_loopback: bool = False

    def __post_init__(self) -> None:
        if self.style not in get_args(TokenStyle):
            raise ValueError(f"unknown token style {self.style!r}")

    def style_of(self, call: Call) -> Style:
        """Return the style of the response to this call."""
        if self.style == "auto":
            return "owin" if call.version == "v6" else "core"
        return self.style

    def permits(self, call: Call) -> bool:
        """Whether the call has a valid token, with its antiforgery cookie if needed."""
        token = bearer_token(call)
        return token is not None and self.tokens.accepts(token, call.request.cookies.get(_COOKIE))

    def log_out(self, call: Call) -> None:
        """Revoke the token of the call."""
        self.tokens.revoke(bearer_token(call) or "", refresh_too=True)

    async def respond(
        self, call: Call, *, throttled: bool = False, refuse: str = ""
    ) -> TokenResponse:
        """Issue tokens or refuse them.

        `throttled` applies the rate limits to all clients; `refuse` is a grant type to refuse in any case.

        Raises:
            ApiError: the request is refused, in the form of newer servers.
        """
        if throttled or self.throttle_loopback or not is_loopback(call.request):
            try:
                self.throttle.count(call.request.remote or "")
            except ThrottledError as error:
                return TokenResponse(_too_many(error))
        fields = await token_fields(call)
        style, kind = self.style_of(call), fields.get("grant_type", "")
        antiforgery = (
            call.version != "v6"
            and fields.get("disable_antiforgery_token", "").lower() not in _TRUE
        )
        grant = None
        if kind == "password" and refuse != kind:
            grant = self.tokens.log_in(
                fields.get("username", ""),
                fields.get("password", ""),
                style=style,
                antiforgery=antiforgery,
            )
        elif kind == "refresh_token" and refuse != kind:
            grant = self.tokens.refresh(
                fields.get("refresh_token", ""),
                style=style,
                antiforgery=antiforgery,
                cookie=call.request.cookies.get(_COOKIE),
            )
        elif kind not in {"password", "refresh_token"}:
            return TokenResponse(
                _refused(style, "unsupported_grant_type", "Unsupported grant type.")
            )
        if grant is None:
            text = (
                "Invalid username or password." if kind == "password" else "Invalid refresh token."
            )
            return TokenResponse(_refused(style, "invalid_grant", text))
        return TokenResponse(self._granted(grant, style), grant)

    def _granted(self, grant: TokenPair, style: Style) -> web.Response:
        now = datetime.now(UTC)
        expires = now + timedelta(seconds=self.tokens.lifetime_seconds)
        fields: dict[str, object] = {"access_token": grant.access_token, "token_type": "bearer"}
        if style == "owin":
            fields |= {
                "expires_in": max(1, int(self.tokens.lifetime_seconds) - 1),
                "refresh_token": grant.refresh_token,
                ".issued": format_datetime(now, usegmt=True),
                ".expires": format_datetime(expires, usegmt=True),
            }
        else:
            fields |= {
                "expires_in": int(self.tokens.lifetime_seconds),
                "refresh_token": grant.refresh_token,
                "userName": self.tokens.username,
                ".issued": now.isoformat().replace("+00:00", "Z"),
                ".expires": expires.isoformat().replace("+00:00", "Z"),
            }
        response = web.json_response(text=dumps(fields))
        if grant.antiforgery is not None:
            response.set_cookie(_COOKIE, grant.antiforgery, secure=True, httponly=True)
        return response


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """The response of the token endpoint, and the tokens it issued."""

    response: web.Response
    tokens: TokenPair | None = None


def bearer_token(call: Call) -> str | None:
    """Return the token in the Authorization header, or None."""
    scheme, _, token = call.request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def token_fields(call: Call) -> dict[str, str]:
    """Return the fields of a token request, parsed as JSON or as a form according to its content type.

    Raises:
        ApiError: the body cannot be parsed.
    """
    body = await call.request.read()
    try:
        if call.request.content_type != "application/json":
            return dict(parse_qsl(body.decode(), keep_blank_values=True))
        fields = json.loads(body)
    except ValueError:
        raise ApiError(400, "The request body cannot be read.") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "The request body cannot be read.")
    return {
        str(name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in fields.items()
        if value is not None
    }


def _too_many(error: ThrottledError) -> web.Response:
    return web.Response(
        status=429, reason=error.phrase, headers={"Retry-After": str(error.retry_after)}
    )


def _refused(style: Style, error: str, text: str) -> web.Response:
    if style == "owin":
        body = dumps({"error": error, "error_description": text})
        return web.json_response(text=body, status=400)
    status = 401 if error == "invalid_grant" else 400
    return web.json_response(text=dumps({"message": text}), status=status)
