"""Calls to a server's REST API: authenticated and retried, with error statuses raised and JSON bodies decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import structlog

from exporter.config.model import ServerConfig
from exporter.vb365.base_url import BaseUrl
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    RequestTimeoutError,
    ThrottledError,
    Vb365Error,
    error_of_status,
)
from exporter.vb365.explanations import explain
from exporter.vb365.http.body import BadBodyError, decode_json
from exporter.vb365.http.transport import Request, Response, Transport
from exporter.vb365.login import LoginThrottle, PasswordLogin
from exporter.vb365.retry import NO_RETRY, Retrier, retry_after_seconds
from exporter.vb365.server_clock import ServerClock
from exporter.vb365.tokens import PasswordTokens, StaticTokens, Token, Tokens
from exporter.vb365.versions import Versions

log = structlog.get_logger()

_TOKEN_WAIT_ALLOWANCE_SECONDS = 2.0
"""How long a token request may wait even after the deadline: a login may follow a refused refresh."""
_LOGOUT_SECONDS = 2.0
_LONG_TOKEN_CHARACTERS = 8000
"""Servers accept headers of at least 8 KiB."""


class RestApi:
    """One server's REST API. Shared by threads.

    A failure that may pass is retried until `deadline`. A refused token is renewed once.

    Args:
        server: the configuration.
        transport: makes the HTTP exchanges.
        retrier: retries requests.
        login_throttle: paces token requests and remembers refused passwords for this server.
        clock: the monotonic clock.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        transport: Transport,
        retrier: Retrier,
        login_throttle: LoginThrottle,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._server = server
        self._transport = transport
        self._retrier = retrier
        self._login_throttle = login_throttle
        self._clock = clock
        self._wall_clock = wall_clock
        self.tokens = self._make_tokens()
        self.server_clock = ServerClock(clock)
        """The server's time, as of the newest successful `get`."""
        self.base_url = BaseUrl(server.url)
        self.versions = Versions(
            server,
            is_served=self._is_served,
            is_served_now=self._is_served_now,
            clock=clock,
        )
        self._probes_may_succeed = False
        self.deadline = NO_RETRY
        """Monotonic time after which nothing is retried."""

    def target(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """Return the target of a path below the current API version, which is detected if necessary."""
        return self.base_url.target(f"{self.versions.current()}/{path}", query)

    def get(
        self,
        operation: str,
        target: str,
        *,
        long_poll_seconds: float = 0.0,
        until: float = math.inf,
    ) -> object:
        """GET a target and decode the response.

        Args:
            operation: named in errors and metrics; it decides how often a failure is retried.
            target: path and query, from `target` or a link in a response.
            long_poll_seconds: how long the server may hold the request before it responds.
            until: when the request is aborted, on the monotonic clock, if that is earlier than its usual deadline.

        Raises:
            AuthError: the token is refused, even after being renewed.
            Vb365Error: there was no response, or an unusable one.
        """

        def exchange(token: Token, *, expected: Collection[int] = ()) -> Response:
            seconds_left = until - self._clock()
            if seconds_left <= 0:
                raise RequestTimeoutError("not sent, no time is left", operation=operation)
            request = Request(
                operation=operation,
                target=target,
                bearer=token.value,
                long_poll_seconds=long_poll_seconds,
                deadline_seconds=seconds_left,
            )
            return self._exchange(request, expected=expected)

        token = self.tokens.current()
        refusals = _refusals(token)
        response = exchange(token, expected=refusals)
        if response.status in refusals:
            token = self.tokens.renew(token)
            response = exchange(token)
        body = _decode(response, operation)
        self.tokens.mark_accepted(token)
        self.server_clock.update(response.headers.get("Date", ""))
        return body

    def log_out(self) -> None:
        """Log out with `POST /{v}/token/logout` if the version has it and there is a login. Log failures."""
        token = self.tokens.logout_token()
        if token is None or not self.versions.have_logout:
            return
        request = Request(
            operation="token",
            method="POST",
            target=self.base_url.target(f"{self.versions.selected}/token/logout"),
            bearer=token.value,
            deadline_seconds=_LOGOUT_SECONDS,
            allow_after_stop=True,
        )
        try:
            self._send_once(request)
        except Vb365Error as error:
            log.debug("logout failed", server=self._server.name, reason=error.reason)

    def _is_served(self, version: str) -> bool:
        """Return whether the server has a version: an anonymous ServiceInstance request then gives 401, not 404.

        If a proxy in front of the server logs in by itself, the request succeeds.

        Raises:
            Vb365Error: another error status, or no response.
        """
        request = Request(operation="service_instance", target=self._probe_target(version))
        response = self._exchange(request, expected={401, 404})
        self._probes_may_succeed = self._probes_may_succeed or response.is_success
        return response.status != 404

    def _is_served_now(self, version: str) -> bool:
        request = Request(
            operation="service_instance",
            target=self._probe_target(version),
            deadline_seconds=self._server.timeout,
        )
        try:
            response = self._send_once(request)
        except Vb365Error:
            return False
        return response.status == 401 or (self._probes_may_succeed and response.is_success)

    def _probe_target(self, version: str) -> str:
        return self.base_url.target(f"{version}/ServiceInstance")

    def _make_tokens(self) -> Tokens:
        auth = self._server.auth
        if auth.kind == "token":
            return StaticTokens(auth.secret)
        login = PasswordLogin(
            username=auth.username or "",
            secret=auth.secret,
            throttle=self._login_throttle,
            server=self._server.name,
        )
        return PasswordTokens(login=login, post=self._post_token, clock=self._clock)

    def _post_token(self, form: Mapping[str, str]) -> object:
        """Log in or refresh with `POST /{v}/token`, within the limits of the token endpoint.

        Raises:
            AuthError: the credentials are refused (400 or 401).
            ThrottledError: there were too many requests, by the server's count or our own.
            Vb365Error: there was no response, or an unusable one.
        """
        target = self.target("token")
        if self.versions.needs_antiforgery_opt_out:
            form = {**form, "disable_antiforgery_token": "true"}
        request = Request(operation="token", method="POST", target=target, form=form)
        response = self._exchange(request, expected={400, 401}, send=self._send_token_request)
        if response.is_success:
            return _decode(response, "token")
        _, detail = explain(response, request)
        reason = f"HTTP {response.status}, {detail}" if detail else f"HTTP {response.status}"
        raise AuthError(
            f"the login is refused ({reason})", operation="token", status=response.status
        )

    def _send_token_request(self, request: Request) -> Response:
        self._await_token_request()
        sent = True
        try:
            # During the wait, the server may have refused the password of another client.
            self._login_throttle.check(request.form or {})
            return self._transport.exchange(request)
        except Vb365Error as error:
            sent = error.sent
            raise
        finally:
            self._login_throttle.release(sent=sent)

    def _await_token_request(self) -> None:
        """Wait until a token request is within the limits.

        Raises:
            ThrottledError: the wait would end after the deadline.
        """
        while (seconds := self._login_throttle.acquire()) > 0:
            if seconds > max(self.deadline - self._clock(), _TOKEN_WAIT_ALLOWANCE_SECONDS):
                raise ThrottledError(
                    f"no token requests for another {seconds:.0f} s, to stay within the server's limits",
                    operation="token",
                    retry_after_seconds=seconds,
                )
            self._retrier.pause(seconds, operation="token")

    def _send_once(self, request: Request) -> Response:
        """Send a request that other requests do not depend on, without retries, and return any response.

        Raises:
            Vb365Error: there was no response, or a pause holds it back.
        """
        self._retrier.await_pause_end(request.operation)
        return self._transport.exchange(request)

    def _exchange(
        self,
        request: Request,
        *,
        expected: Collection[int] = (),
        send: Callable[[Request], Response] | None = None,
    ) -> Response:
        """Send a request, with retries, and return the response if its status is 2xx or expected.

        Raises:
            Vb365Error: any other status, or no response.
        """
        send = send or self._transport.exchange

        def attempt() -> Response:
            response = send(request)
            if response.is_success or response.status in expected:
                return response
            code, detail = explain(response, request)
            raise error_of_status(
                response.status,
                operation=request.operation,
                before_login=request.bearer is None,
                detail=detail,
                code=code,
                retry_after_seconds=retry_after_seconds(response.headers, now=self._wall_clock),
            )

        return self._retrier.call(attempt, operation=request.operation, deadline=self.deadline)


def _refusals(token: Token) -> frozenset[int]:
    """Return the statuses with which a server refuses a token.

    A token too long for a header gets a 431 or, from IIS and nginx, a 400. Unless renewed, it would be sent until it expires.
    """
    is_long = len(token.value) > _LONG_TOKEN_CHARACTERS
    return frozenset({401, 431, 400} if is_long else {401, 431})


def _decode(response: Response, operation: str) -> object:
    try:
        return decode_json(response.body, is_cut=response.is_cut)
    except BadBodyError as bad:
        error = BadResponseError(str(bad), operation=operation, status=response.status)
    raise error
