"""A poller with a real client and no thread, and the requests it sends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from exporter.config import ServerConfig
from exporter.polling.clock import Clock
from exporter.polling.poller import Poller
from exporter.polling.server_state import ServerState
from exporter.polling.snapshot import Snapshot
from exporter.vb365.client import Client, Timing
from exporter.vb365.errors import Reason


class _StrictObserver:
    """Counts requests; raises on any failure."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def request(self, operation: str, code: str, seconds: float) -> None:
        del seconds
        if (
            not code.startswith("2") and operation != "service_instance"
        ):  # also sent without a token
            raise RuntimeError(f"{operation} failed with {code}")
        with self._lock:
            self.requests[operation] += 1

    def retry(self, operation: str) -> None:
        raise RuntimeError(f"{operation} was retried")

    def polled(self, reason: Reason | None) -> None:
        if reason is not None:
            raise RuntimeError(f"poll failed: {reason}")

    def poll_unpublished(self) -> None:
        raise AssertionError("the result of the poll was not published")

    def overran(self) -> None:
        """Ignore: these polls have no schedule."""

    def rejected(self, reason: str, count: int = 1) -> None:
        raise RuntimeError(f"{count} records rejected: {reason}")

    def extra_failed(self, extra: str, reason: Reason) -> None:
        raise RuntimeError(f"{extra} failed: {reason}")

    def unknown_value(self, field: str) -> None:
        raise RuntimeError(f"unknown {field}")


class PolledServer:
    """A poller of one server without its thread; a failing poll raises."""

    def __init__(
        self, poller: Poller, snapshots: list[Snapshot], counting: _StrictObserver
    ) -> None:
        self._poller = poller
        self._snapshots = snapshots
        self._counting = counting

    def poll(self) -> Snapshot:
        """Poll once and return the snapshot."""
        self._snapshots.clear()
        self._poller.poll()
        return self._snapshots[-1]

    def requests(self) -> Counter[str]:
        """Return the requests since the last call, by operation."""
        sent = self._counting.requests.copy()
        self._counting.requests.clear()
        return sent


@contextmanager
def running_client(server: ServerConfig) -> Iterator[Client]:
    """Yield a client; a failed request raises."""
    with closing(Client(server, observer=_StrictObserver(), stop=threading.Event())) as client:
        yield client


@contextmanager
def polled_server(server: ServerConfig, clock: Clock | None = None) -> Iterator[PolledServer]:
    """Yield a poller that has not polled yet."""
    counting = _StrictObserver()
    stop = threading.Event()
    snapshots: list[Snapshot] = []
    clock = clock or Clock()
    timing = Timing(clock=clock.monotonic)
    with closing(Client(server, observer=counting, stop=stop, timing=timing)) as client:
        poller = Poller(
            server,
            api=client,
            state=ServerState(server),
            clock=clock,
            observer=counting,
            publish=snapshots.append,
            stop=stop,
        )
        yield PolledServer(poller, snapshots, counting)
