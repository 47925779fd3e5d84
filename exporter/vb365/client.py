"""Asking a VB365 server: the operations, with token, repetition, paging and API version taken care of."""

from __future__ import annotations

import random as random_numbers
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import structlog

from exporter.vb365.calls import Calls
from exporter.vb365.errors import AuthError, BadResponseError, NotFoundError, Vb365Error
from exporter.vb365.logins import LoginMemory, login_memory_of
from exporter.vb365.model import Rejection, RejectionReason, RestoreSession, parse_session
from exporter.vb365.paging import MAX_PAGES, Place, walk
from exporter.vb365.retry import NO_REPETITION, Retrier
from exporter.vb365.tokens import PasswordTokens, StaticTokens, Tokens
from exporter.vb365.transport import MAX_BODY_BYTES, RequestObserver, Transport
from exporter.vb365.versions import Versions
from exporter.vb365.watchdog import Lifeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exporter.config.model import ServerConfig
    from exporter.vb365.grants import Bearer

__all__ = ["Client", "Page", "RequestObserver", "ServiceInstance"]

log = structlog.get_logger()

_LOGOUT_SECONDS: Final = 2.0
_LONGEST_TEXT_CHARACTERS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInstance:
    """What the server says of itself. Texts it left out are empty."""

    version: str
    """`version`: of the product."""
    installation_id: str
    """`installationId`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of restore sessions."""

    sessions: tuple[RestoreSession, ...]
    rejections: tuple[Rejection, ...]


class Client:
    """One server's API. All methods may be called by several threads at once.

    Inside of `poll` failed requests are repeated until its deadline; outside of it they are not.

    Every operation raises Vb365Error when it does not get what it asks for, and StoppedError, at once, when the client
    is closed or `stop` is set.
    """

    def __init__(  # noqa: PLR0913 - the seams for tests have defaults
        self,
        server: ServerConfig,
        *,
        observer: RequestObserver,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        wait: Callable[[float], bool] | None = None,
        random: Callable[[], float] = random_numbers.random,
        login_memory: LoginMemory | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_pages: int = MAX_PAGES,
    ) -> None:
        """Make a client; nothing is asked, and no file read, before the first request.

        Args:
            server: whom to talk to, and how.
            observer: told of every request and repetition.
            stop: ends waits and requests under way, within a tenth of a second.
            clock: the monotonic clock.
            wall_clock: seconds since 1970, for a `Retry-After` with a date.
            wait: sleeps for so many seconds; True when the client was stopped meanwhile.
            random: a number from 0 up to 1.
            login_memory: what is remembered of logins; that of all clients of this server by default.
            max_body_bytes: the largest answer, before and after decompression.
            max_pages: the most pages of one list.
        """
        self._server = server
        self._max_pages = max_pages
        self._place = Place.of(server.url)
        self._lifeline = Lifeline(stop)
        self._transport = Transport(
            server, observer=observer, lifeline=self._lifeline, max_body_bytes=max_body_bytes
        )
        self._retrier = Retrier(clock=clock, wait=wait or self._lifeline.wait, random=random)
        memory = login_memory or login_memory_of(self._place.origin, clock=clock)
        self._calls = Calls(
            self._transport,
            retrier=self._retrier,
            observer=observer,
            login_memory=memory,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._tokens = self._make_tokens(memory, clock)
        self._versions = Versions(server, is_served=self._is_served)
        self._product_version: str | None = None
        self._closing = threading.Lock()
        self._closed = False

    # What is known without asking

    @property
    def api_version(self) -> str | None:
        """The version in the paths (`v6`, `v7`, `v8`); None before one was chosen, else the one chosen last."""
        return self._versions.chosen

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate expires that the server showed last; None before it showed one."""
        return self._transport.certificate_not_after

    @property
    def blocked_until(self) -> float:
        """No request goes out before this moment of the monotonic clock, because the server said so."""
        return self._retrier.blocked_until

    # Life

    def reread_files(self) -> None:
        """Read the TLS files, and a token that somebody else renews, again for the next request.

        A password is read again by each login anyway, and the token it gave stays good.
        """
        self._transport.reread_files()
        self._tokens.reread()

    @contextmanager
    def poll(self, deadline: float) -> Iterator[None]:
        """Within this, failed requests are repeated until the deadline, a moment of the monotonic clock."""
        self._calls.deadline = deadline
        try:
            yield
        finally:
            self._calls.deadline = NO_REPETITION

    def close(self) -> None:
        """End what is under way, log out where the API has a logout (2 s at most), close all connections."""
        with self._closing:
            if self._closed:
                return
            self._lifeline.cut()
            self._transport.stop_requests()
            self._log_out()
            self._transport.close()
            self._closed = True

    # Operations

    def service_instance(self) -> ServiceInstance:
        """Ask which server this is: `GET /{v}/ServiceInstance`.

        The API's version is chosen anew when the server does not know it any more, or has become another one.
        """
        chosen = self._versions.current()
        try:
            instance = self._get_json("service_instance", self._target("ServiceInstance"))
        except NotFoundError:
            self.forget_api_version()
            if self._versions.current() == chosen:
                raise
            instance = self._get_json("service_instance", self._target("ServiceInstance"))
        if not isinstance(instance, dict):
            raise BadResponseError("the answer is no JSON object", operation="service_instance")
        version = _text(instance, "version")
        if self._product_version not in {None, version}:
            self.forget_api_version()  # from the next request on: an update may serve a newer one
        self._product_version = version
        return ServiceInstance(version=version, installation_id=_text(instance, "installationId"))

    def list_sessions(
        self, *, created_since: datetime | None, page_size: int = 1000
    ) -> Iterator[Page]:
        """Walk the restore sessions: `GET /{v}/RestoreSessions`, page by page.

        Args:
            created_since: only sessions created after it (`startTimeFrom`), an aware datetime; None for all.
            page_size: how many to ask for at a time; the server may give fewer.

        Raises:
            BadResponseError: also when the list has ended, and there were records, but none that can be read.
        """
        read = unread = 0
        try:
            for results in walk(
                lambda target: self._get_json("list", target),
                place=self._place,
                path=f"{self._versions.current()}/RestoreSessions",
                query={} if created_since is None else {"startTimeFrom": _instant(created_since)},
                page_size=page_size,
                operation="list",
                max_pages=self._max_pages,
            ):
                parsed = [parse_session(record) for record in results]
                page = Page(
                    sessions=tuple(each for each in parsed if isinstance(each, RestoreSession)),
                    rejections=tuple(each for each in parsed if isinstance(each, Rejection)),
                )
                read += len(page.sessions)
                unread += len(page.rejections)
                yield page
        except NotFoundError:
            self.forget_api_version()
            raise
        if unread and not read:
            # A bad record is its own trouble; a list of nothing else has told nothing.
            raise BadResponseError(f"none of the {unread} records can be read", operation="list")

    def get_session(self, session_id: str) -> RestoreSession | Rejection:
        """Ask for one restore session: `GET /{v}/RestoreSessions/{id}`.

        A record that is no session, or another one, comes back as a rejection.

        Raises:
            NotFoundError: the server does not know it, or not the API: a poll that believes it has asked otherwise.
        """
        session = parse_session(
            self._get_json("get", self._target(f"RestoreSessions/{quote(session_id, safe='')}"))
        )
        if isinstance(session, Rejection) or session.id == session_id.lower():
            return session
        return Rejection(
            reason=RejectionReason.OTHER_SESSION, field="id", session_id=session_id.lower()
        )

    def forget_api_version(self) -> None:
        """Choose the API's version anew for the next request, if it is chosen automatically."""
        self._versions.unsettle()

    # How to ask

    def _get_json(self, operation: str, target: str) -> object:
        """GET a target with a token and decode the answer; a refused token is renewed once."""
        bearer = self._tokens.current()
        # An error of its own for the renewal is not to drag the refusal along.
        with suppress(AuthError):
            return self._get_json_with(bearer, operation, target)
        return self._get_json_with(self._tokens.renew(bearer), operation, target)

    def _get_json_with(self, bearer: Bearer, operation: str, target: str) -> object:
        answer = self._calls.get(operation, target, token=bearer.value)
        self._tokens.accepted(bearer)
        return answer

    def _target(self, path: str) -> str:
        return self._place.target(f"{self._versions.current()}/{path}")

    def _is_served(self, version: str) -> bool:
        target = self._place.target(f"{version}/ServiceInstance")
        return self._calls.is_served("service_instance", target)

    def _make_tokens(self, memory: LoginMemory, clock: Callable[[], float]) -> Tokens:
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
        target = self._target("token")
        fields = dict(form)
        if self._versions.have_antiforgery:
            fields |= {"disable_antiforgery_token": "true"}
        return self._calls.post_token_form(target, urlencode(fields).encode("ascii"))

    def _log_out(self) -> None:
        """`POST /{v}/token/logout`, if the server can be expected to answer."""
        bearer = self._tokens.for_logout()
        if bearer is None or not self._versions.have_logout or not self._transport.reachable:
            return
        target = self._place.target(f"{self._versions.chosen}/token/logout")
        try:
            self._calls.post_logout(target, token=bearer.value, most_seconds=_LOGOUT_SECONDS)
        except Vb365Error as error:
            log.debug("logout failed", server=self._server.name, reason=error.reason)


def _text(record: Mapping[object, object], field: str) -> str:
    value = record.get(field)
    return value[:_LONGEST_TEXT_CHARACTERS] if isinstance(value, str) else ""


def _instant(moment: datetime) -> str:
    """As the API's filters want it: `2022-03-12T15:55:20.855741Z`."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"
