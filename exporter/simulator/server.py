"""The simulator: a VB365 server over TLS in a thread of its own."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread, get_ident
from types import TracebackType
from typing import Self, TypeVar

from aiohttp import web

from exporter.simulator.api.documents import WorkingEnd
from exporter.simulator.api.gateway import Gateway, Traffic
from exporter.simulator.api.login import Login, TokenStyle
from exporter.simulator.api.resources import Api
from exporter.simulator.api.routes import API_VERSIONS
from exporter.simulator.api.tokens import DEFAULT_LIFETIME_SECONDS, Throttle, TokenStore
from exporter.simulator.certificates import Certificates
from exporter.simulator.control import Control
from exporter.simulator.faults.registry import Faults
from exporter.simulator.listener import Listener
from exporter.simulator.world.sessions import datetime_from_ticks
from exporter.simulator.world.world import World

Part = TypeVar("Part")

_ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - only if the user chooses it
_CLOSE_TIMEOUT_SECONDS = 10.0


class Simulator:
    """A simulated VB365 server, as a context manager or with `start` and `close`.

    Args:
        world: its restore sessions; a new world by default.
        host: address to listen on; empty means all.
        port: 0 selects a free port.
        username: name of the only account.
        password: password of the account.
        api_versions: the API versions to serve, of v6, v7 and v8.
        token_style: "owin" (older servers), "core" (newer ones), or "auto" (by API version).
        token_lifetime: lifetime of access tokens, in seconds.
        token_mark: text contained in every token.
        token_throttle: whether the token endpoint's rate limits apply to loopback clients, too.
        working_end: endTime of running sessions: "sentinel", "null" or "absent".
        page_cap: maximum page size, at most 10,000.
        product_version: the version of the product; by default one that serves `api_versions`.
        latency: delay of each response, in seconds.
        cert_file: PEM certificate chain to serve instead of a generated one.
        key_file: private key of the chain.
        ca_file: where to write the certificates that clients must trust; by default a temporary file, removed by `close`.
        token_clock: monotonic clock for token lifetimes and rate limits, in seconds.

    Attributes:
        world: its restore sessions.
        faults: its faults; changes take effect before `set` and `clear` return.
        tokens: its tokens.
        traffic: the requests it received.

    Raises:
        ValueError: an argument is not one of the listed values.
    """

    def __init__(  # noqa: PLR0913 - each is a property of the server and has a default
        self,
        world: World | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        username: str = "demo",
        password: str = "demo",  # noqa: S107 - the documented account of a simulator
        api_versions: tuple[str, ...] = API_VERSIONS,
        token_style: TokenStyle = "auto",  # noqa: S107 - no password
        token_lifetime: float = DEFAULT_LIFETIME_SECONDS,
        token_mark: str = "",
        token_throttle: bool = False,
        working_end: WorkingEnd = "sentinel",
        page_cap: int | None = None,
        product_version: str | None = None,
        latency: float = 0.0,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        ca_file: Path | None = None,
        token_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = set(api_versions) - set(API_VERSIONS)
        if unknown or not api_versions:
            raise ValueError(f"unknown API versions {sorted(unknown)}; known: {API_VERSIONS}")
        self.world = World() if world is None else world
        self.username = username
        self.password = password
        self.traffic = Traffic()
        self.faults = Faults(self.world.seed, self._faults_changed)
        self.tokens = TokenStore(
            username=username,
            password=password,
            lifetime_seconds=token_lifetime,
            mark=token_mark,
            clock=token_clock,
        )
        self._gateway = Gateway(
            api=Api(
                self.world,
                versions=api_versions,
                working_end=working_end,
                page_cap=page_cap,
                product_version=product_version,
            ),
            control=Control(self.world, self.faults, self._apply_faults),
            faults=self.faults,
            login=Login(
                tokens=self.tokens,
                throttle=Throttle(token_clock),
                style=token_style,
                throttle_loopback=token_throttle,
            ),
            versions=api_versions,
            now=lambda: datetime_from_ticks(self.world.now()),
            latency_seconds=latency,
            traffic=self.traffic,
        )
        self._address = (host, port)
        self._tls_files = (cert_file, key_file)
        self._ca_file = ca_file
        self._ca_file_is_temporary = ca_file is None
        self._certificates: Certificates | None = None
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: Thread | None = None

    def start(self) -> Self:
        """Start to listen; faults may be set before.

        Raises:
            OSError: the address is not available, or a file cannot be read or written.
        """
        host, _ = self._address
        extra = () if host in _ALL_ADDRESSES else (host,)
        cert_file, key_file = self._tls_files
        self._certificates = Certificates(extra, cert_file=cert_file, key_file=key_file)
        self._write_ca_file(self._certificates.ca_pem)
        started: Future[None] = Future()
        self._thread = Thread(target=self._run, args=(started,), name="simulator", daemon=True)
        self._thread.start()
        try:
            started.result()
        except OSError:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Drop all connections and join the thread. Closing twice is allowed."""
        loop, stop, thread = self._loop, self._stop, self._thread
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        if thread is not None:
            thread.join(_CLOSE_TIMEOUT_SECONDS)
        self._loop = self._stop = self._thread = self._listener = None
        if self._ca_file_is_temporary and self._ca_file is not None:
            self._ca_file.unlink(missing_ok=True)
            self._ca_file = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return _running(self._listener).port

    @property
    def url(self) -> str:
        """The base URL for local clients, without a trailing slash."""
        host, _ = self._address
        host = "127.0.0.1" if host in _ALL_ADDRESSES else host
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """Number of requests by (method, operation) since `traffic.reset()`."""
        return self.traffic.requests

    @property
    def response_bytes(self) -> Counter[tuple[str, str]]:
        """Bytes of response bodies by (method, operation)."""
        return self.traffic.response_bytes

    @property
    def ca_pem(self) -> bytes:
        """The certificates that clients must trust, as PEM."""
        return _running(self._certificates).ca_pem

    @property
    def ca_file(self) -> Path:
        """The file with the certificates that clients must trust."""
        return _running(self._ca_file)

    def _write_ca_file(self, pem: bytes) -> None:
        if self._ca_file is None:
            with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
                file.write(pem)
            self._ca_file = Path(file.name)
        else:
            self._ca_file.write_bytes(pem)

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except (OSError, UnicodeError) as error:
            started.set_exception(error)

    async def _serve(self, started: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        host, port = self._address
        self._listener = Listener(
            host,
            port,
            server=web.Server(self._gateway, handler_cancellation=True, access_log=None),
            certificates=_running(self._certificates),
            faults=self.faults,
        )
        await self._listener.open()
        started.set_result(None)
        try:
            await self._stop.wait()
        finally:
            await self._listener.close()

    async def _apply_faults(self, keep: asyncio.BaseProtocol | None = None) -> None:
        await _running(self._listener).apply_faults(keep)

    def _faults_changed(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or thread.ident == get_ident():
            return  # not started yet, or the control endpoint applies them itself
        asyncio.run_coroutine_threadsafe(self._apply_faults(), loop).result()


def _running(part: Part | None) -> Part:
    if part is None:
        raise RuntimeError("the simulator has not been started")
    return part
