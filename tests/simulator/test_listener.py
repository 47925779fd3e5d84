from __future__ import annotations

import asyncio
import gc
import socket

import pytest
from aiohttp import web

from exporter.simulator.certificates import Certificates
from exporter.simulator.faults.registry import Faults
from exporter.simulator.listener import Listener


@pytest.mark.parametrize("fault", ["", "tls_unknown_ca", "connection_refused"])
@pytest.mark.parametrize("iterations", range(6))
def test_a_connection_accepted_while_others_are_dropped_is_closed(
    iterations: int, fault: str
) -> None:
    """Whatever number of event loop iterations precedes the end or the fault."""

    async def response(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async def connect_and_close() -> bytes:
        faults = Faults()
        listener = Listener(
            "127.0.0.1",
            0,
            server=web.Server(response),
            certificates=Certificates(()),
            faults=faults,
        )
        await listener.open()
        await asyncio.sleep(0.01)  # it listens by now
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as client:
            for _ in range(iterations):
                await asyncio.sleep(0)
            if fault:
                faults.set(fault)
                await listener.apply_faults()
            await listener.close()
            await asyncio.sleep(0)
            gc.collect()
            try:
                return client.recv(1)
            except ConnectionResetError:
                return b""

    assert asyncio.run(connect_and_close()) == b""
