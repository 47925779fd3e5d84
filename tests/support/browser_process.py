"""A real headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from support.processes import debian_program, running_process
from support.waiting import wait_until

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_RESPONSE_SECONDS = 60.0


class Browser:
    """A running Chromium; `runner` runs the event loop of its connection."""

    def __init__(self, runner: asyncio.Runner, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._runner = runner
        self._socket = socket
        self._numbers = count(1)
        self._events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Run a DevTools command and return its result."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        self._runner.run(self._socket.send_json(command))
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def events(self, session: str, method: str) -> list[dict[str, Any]]:
        """Return the events of one kind received so far."""
        return [
            event["params"]
            for event in self._events
            if event.get("sessionId") == session and event["method"] == method
        ]

    def wait_for(self, session: str, method: str, times: int) -> None:
        """Wait until an event has been received `times` times."""
        while len(self.events(session, method)) < times:
            self._events.append(self._receive())

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """Open a tab that shares nothing with others."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        try:
            yield Tab(self, attached["sessionId"])
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = self._runner.run(
            self._socket.receive_json(timeout=_RESPONSE_SECONDS)
        )
        return message


class Tab:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loads = 0
        for domain in ("Log", "Network", "Page", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a DevTools command in this tab."""
        return self._browser.call(method, self._session, **parameters)

    def open(self, url: str, *, width: int = 1280, scheme: str = "light") -> None:
        """Open a page on a screen of this width with a preferred colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.call("Page.navigate", url=url)
        self._loads += 1
        self._browser.wait_for(self._session, "Page.loadEventFired", self._loads)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press_tab(self) -> None:
        """Press and release the tab key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)

    def requested(self) -> list[str]:
        """Return every URL requested since the tab was opened."""
        sent = self._browser.events(self._session, "Network.requestWillBeSent")
        return [event["request"]["url"] for event in sent]

    def complaints(self) -> list[str]:
        """Return errors, warnings and policy violations that the browser reported."""
        entries = self._browser.events(self._session, "Log.entryAdded")
        return [event["entry"]["text"] for event in entries]

    def screenshot(self, most_pixels_high: float | None = None) -> bytes:
        """Return the page, or its upper part, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        height = min(size["height"], most_pixels_high or size["height"])
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        taken = self.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        return base64.b64decode(taken["data"])


@contextmanager
def running_browser(directory: Path) -> Iterator[Browser]:
    """Run a Chromium with an empty profile in this directory."""
    profile = directory / "profile"
    command = [debian_program("chromium", "chromium"), *_FLAGS, f"--user-data-dir={profile}"]
    address = profile / "DevToolsActivePort"
    with (
        running_process([*command, "about:blank"], directory / "chromium.log"),
        asyncio.Runner() as runner,
    ):
        wait_until(lambda: address.exists() and "\n" in address.read_text(), "Chromium listens")
        port, path = address.read_text().split()
        client = runner.run(_client())
        try:
            socket = runner.run(
                client.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0).__aenter__()
            )
            yield Browser(runner, socket)
        finally:
            runner.run(client.close())


async def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(trust_env=False)
