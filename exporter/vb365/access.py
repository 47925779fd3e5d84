"""How a resource of the API is asked for: at which place, by which version of the API, and with which token."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from exporter.vb365.errors import AuthError, Vb365Error
from exporter.vb365.tokens import PasswordTokens, StaticTokens, Tokens
from exporter.vb365.versions import Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.config.model import ServerConfig
    from exporter.vb365.calls import Calls
    from exporter.vb365.grants import Bearer
    from exporter.vb365.login import LoginThrottle
    from exporter.vb365.paging import BaseUrl

__all__ = ["Access"]

log = structlog.get_logger()

_LOGOUT_SECONDS: Final = 2.0


class Access:
    """Gets resources with a token that is renewed when it is refused. Shared by threads."""

    def __init__(
        self,
        server: ServerConfig,
        *,
        place: BaseUrl,
        calls: Calls,
        login_throttle: LoginThrottle,
        clock: Callable[[], float],
    ) -> None:
        """Take what it works with; nothing is asked before the first request.

        Args:
            server: the configuration.
            place: where its API is.
            calls: makes the calls.
            login_throttle: what is remembered of logins.
            clock: the monotonic clock.
        """
        self._server = server
        self._place = place
        self._calls = calls
        self._tokens = self._make_tokens(login_throttle, clock)
        self.versions = Versions(server, is_served=self._is_served)
        """Which version of the API is asked for."""

    def get(
        self, operation: str, target: str, *, retry: bool = True, long_poll_seconds: float = 0.0
    ) -> object:
        """GET a target and decode the answer; a refused token is renewed once.

        Args:
            operation: what is asked for.
            target: path and query, from `target`.
            retry: whether a failure that may pass is worth another try.
            long_poll_seconds: how long the server may wait for something to tell.

        Raises:
            Vb365Error: no answer, or none to be used.
        """

        def get_with(bearer: Bearer) -> object:
            answer = self._calls.get(
                operation,
                target,
                token=bearer.value,
                retry=retry,
                long_poll_seconds=long_poll_seconds,
            )
            self._tokens.accepted(bearer)
            return answer

        bearer = self._tokens.current()
        # An error of its own for the renewal is not to drag the refusal along.
        with suppress(AuthError):
            return get_with(bearer)
        return get_with(self._tokens.renew(bearer))

    def target(self, path: str, query: Mapping[str, object] | None = None) -> str:
        """The target of a path below the version in use, which is chosen now if need be."""
        return self._place.target(f"{self.versions.current()}/{path}", query)

    def reread(self) -> None:
        """Read a token that somebody else renews again for the next request."""
        self._tokens.reread()

    def log_out(self) -> None:
        """`POST /{v}/token/logout`, where the version has it and somebody is logged in; never raises."""
        bearer = self._tokens.for_logout()
        if bearer is None or not self.versions.have_logout:
            return
        target = self._place.target(f"{self.versions.chosen}/token/logout")
        try:
            self._calls.post_logout(target, token=bearer.value, deadline_seconds=_LOGOUT_SECONDS)
        except Vb365Error as error:
            log.debug("logout failed", server=self._server.name, reason=error.reason)

    def _is_served(self, version: str) -> bool:
        target = self._place.target(f"{version}/ServiceInstance")
        return self._calls.is_served("service_instance", target)

    def _make_tokens(self, memory: LoginThrottle, clock: Callable[[], float]) -> Tokens:
        auth = self._server.auth
        if auth.kind == "token":
            return StaticTokens(auth.secret)
        return PasswordTokens(
            username=auth.username or "",
            secret=auth.secret,
            post=self._post_token,
            memory=memory,
            clock=clock,
            server=self._server.name,
        )

    def _post_token(self, form: Mapping[str, str]) -> object:
        """`POST /{v}/token`: log in or refresh."""
        target = self.target("token")
        fields = dict(form)
        if self.versions.needs_antiforgery_opt_out:
            fields |= {"disable_antiforgery_token": "true"}
        return self._calls.post_token_form(target, fields)
