"""What every call of the API has in common: repetition, statuses as errors, JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ThrottledError,
    Vb365Error,
    error_of_status,
    one_line,
)
from exporter.vb365.http.body import BadBodyError, decode_json
from exporter.vb365.http.transport import Request, RequestObserver, Response, Transport
from exporter.vb365.retry import NO_RETRY, Retrier, RetryPolicy, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.vb365.login import LoginThrottle

__all__ = ["Calls"]

T = TypeVar("T")

_REQUESTS: Final = RetryPolicy()
_ONCE: Final = RetryPolicy(attempts=1)
_TOKEN_REQUESTS: Final = RetryPolicy(attempts=3)
"""Of the five that the server takes in a minute."""
_SHORT_WAIT_SECONDS: Final = 2.0
"""What a token request may wait for its turn even after the deadline: a login may follow a refused refresh."""


class Calls:
    """Makes single calls until they succeed, or a repetition cannot help, or the deadline is over."""

    def __init__(
        self,
        transport: Transport,
        *,
        retrier: Retrier,
        observer: RequestObserver,
        login_throttle: LoginThrottle,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._retrier = retrier
        self._observer = observer
        self._login_throttle = login_throttle
        self._clock = clock
        self._wall_clock = wall_clock
        self.deadline = NO_RETRY
        """The moment of the monotonic clock after which nothing is repeated."""

    def get(
        self,
        operation: str,
        target: str,
        *,
        token: str,
        retry: bool = True,
        long_poll_seconds: float = 0.0,
    ) -> object:
        """GET a target and decode the answer.

        Args:
            operation: what is asked for.
            target: path and query.
            token: the bearer token.
            retry: whether a failure that may pass is worth another try.
            long_poll_seconds: how long the server may wait for something to tell.

        Raises:
            AuthError: with the status 401 when the token is refused.
            Vb365Error: no answer, or none to be used.
        """
        request = Request(
            operation=operation,
            target=target,
            authorization=f"Bearer {token}",
            long_poll_seconds=long_poll_seconds,
        )

        def attempt() -> Response:
            answer = self._transport.exchange(request)
            if _is_success(answer):
                return answer
            raise self._error(answer, operation, said=_said(answer, secret=token))

        policy = _REQUESTS if retry else _ONCE
        return _decoded(self._with_retries(attempt, operation, policy), operation)

    def is_served(self, operation: str, target: str) -> bool:
        """Whether a target exists, asked without a token: it does when it wants one (401), not when it is not found.

        Raises:
            Vb365Error: the answer is neither, or there is none.
        """
        request = Request(operation=operation, target=target)

        def attempt() -> bool:
            answer = self._transport.exchange(request)
            if answer.status == 404:
                return False
            if answer.status == 401 or _is_success(answer):
                return True
            raise self._error(answer, operation, said=_said(answer))

        return self._with_retries(attempt, operation, _REQUESTS)

    def post_token_form(self, target: str, form: Mapping[str, str]) -> object:
        """POST to the token endpoint, within its limits, and decode the answer.

        Raises:
            AuthError: the credentials are refused (400 or 401).
            ThrottledError: too many requests, by the server's count or our own.
            Vb365Error: no answer, or none to be used.
        """
        request = Request(operation="token", method="POST", target=target, form=form)

        def attempt() -> Response:
            self._keep_pace()
            try:
                answer = self._transport.exchange(request)
            except Vb365Error as error:
                if error.sent:
                    self._login_throttle.sent()
                else:
                    self._login_throttle.not_sent()
                raise
            self._login_throttle.sent()
            if _is_success(answer):
                return answer
            said = _said(answer, only_code=True)
            if answer.status in {400, 401}:
                details = f"HTTP {answer.status}, {said}" if said else f"HTTP {answer.status}"
                raise AuthError(
                    f"the login is refused ({details})", operation="token", status=answer.status
                )
            raise self._error(answer, "token", said=said)

        return _decoded(self._with_retries(attempt, "token", _TOKEN_REQUESTS), "token")

    def post_logout(self, target: str, *, token: str, deadline_seconds: float) -> None:
        """POST to the logout, once, although the client is stopped.

        Raises:
            Vb365Error: no answer.
        """
        self._transport.exchange(
            Request(
                operation="token",
                method="POST",
                target=target,
                authorization=f"Bearer {token}",
                deadline_seconds=deadline_seconds,
                allow_after_stop=True,
            )
        )

    def _with_retries(self, attempt: Callable[[], T], operation: str, policy: RetryPolicy) -> T:
        return self._retrier.call(
            attempt,
            operation=operation,
            deadline=self.deadline,
            on_retry=lambda: self._observer.retry(operation),
            policy=policy,
        )

    def _error(self, answer: Response, operation: str, *, said: str) -> Vb365Error:
        return error_of_status(
            answer.status,
            operation=operation,
            detail=said,
            code=_code(_fields(answer).get("errorCode")),
            retry_after_seconds=retry_after_seconds(answer.headers, now=self._wall_clock),
        )

    def _keep_pace(self) -> None:
        """Wait until a token request is within the limits.

        Raises:
            ThrottledError: that is after the deadline.
        """
        while (seconds := self._login_throttle.acquire()) > 0:
            allowed_until = max(self.deadline, self._clock() + _SHORT_WAIT_SECONDS)
            if self._clock() + seconds > allowed_until:
                raise ThrottledError(
                    f"no more token requests for {seconds:.0f} s, to stay within the server's limits",
                    operation="token",
                    retry_after_seconds=seconds,
                )
            self._retrier.pause(seconds, operation="token")


def _is_success(answer: Response) -> bool:
    return 200 <= answer.status <= 299


def _decoded(answer: Response, operation: str) -> object:
    try:
        return decode_json(answer.body)
    except BadBodyError as bad:
        error = BadResponseError(str(bad), operation=operation, status=answer.status)
    raise error


_CODE = re.compile(r"[A-Za-z_]{1,40}")


def _fields(answer: Response) -> Mapping[object, object]:
    """What a refusing answer says; nothing, unless it is a JSON object."""
    try:
        told = decode_json(answer.body)
    except BadBodyError:
        return {}
    return told if isinstance(told, dict) else {}


def _code(value: object) -> str:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def _said(answer: Response, *, secret: str | None = None, only_code: bool = False) -> str:
    """What a refusing answer says about why, as one harmless line; may be empty.

    Args:
        answer: the refusing one.
        secret: what was sent and must not be shown, should the answer repeat it.
        only_code: take over nothing but an error code, as what was sent is a password.
    """
    fields = _fields(answer)
    codes = (_code(fields.get("errorCode")), _code(fields.get("error")))
    parts = [code for code in codes if code]
    if not only_code:
        # The throttle says what it has to say in the reason phrase.
        texts = (fields.get("message"), answer.reason if answer.status == 429 else None)
        parts += [text for text in texts if isinstance(text, str) and text]
    said = ", ".join(parts)
    return one_line(said.replace(secret, "<secret>") if secret else said)
