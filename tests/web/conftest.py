from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.web.app import WebApp, WebBackend
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, bind_listeners
from exporter.web.server import WebServer


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as events:
        yield events


@pytest.fixture
def serve() -> Iterator[Callable[..., WebServer]]:
    """Start servers for a backend; they and their threads end with the test."""
    with contextlib.ExitStack() as stack:

        def start(
            backend: WebBackend,
            *,
            listen: Address = Address("127.0.0.1", 0),  # noqa: B008 - it is immutable
            options: dict[str, Any] | None = None,
            **app: Any,
        ) -> WebServer:
            connections = ConnectionManager(WebApp(backend, **app), **(options or {}))
            server = WebServer(connections, bind_listeners([listen]))
            stack.callback(server.close, 0.0)
            server.start()
            return server

        yield start
    assert "web" not in {thread.name for thread in threading.enumerate()}
