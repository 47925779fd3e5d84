"""A simulator and an exporter that are processes of their own, as a benchmark changes the one and reads the other."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Any

_LONGEST_SECONDS = 60.0
_PAUSE_SECONDS = 0.01

_REQUESTS = re.compile(
    r'^vb365_api_requests_total\{code="(\w+)",operation="(\w+)",server="hq"\} (\S+)$', re.MULTILINE
)


class SimulatorControl:
    """The simulator, as whoever changes its sessions sees it."""

    def __init__(self, address: str, ca_file: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(address, timeout=30, context=context)

    def change(self, **fields: str) -> str:
        """Add a session, or change the one with this id; returns the id."""
        return str(self._asked("POST", "sessions", fields)["id"])

    def stop_all(self) -> None:
        """End all sessions that run."""
        for session in self._asked("GET", "truth")["sessions"]:
            if session["state"] != "Stopped":
                self.change(id=session["id"], state="Stopped", result="Success")

    def _asked(self, method: str, path: str, fields: object = None) -> dict[str, Any]:
        body = None if fields is None else json.dumps(fields)
        self._connection.request(method, f"/_simulator/{path}", body)
        answer = self._connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(told)
        return told

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class MetricsClient:
    """The exporter's `/metrics`, by one connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)

    def text(self) -> str:
        """The text exposition."""
        self._connection.request("GET", "/metrics")
        return self._connection.getresponse().read().decode()

    def requests(self) -> Counter[str]:
        """By operation, how many requests the server was asked."""
        counted: Counter[str] = Counter()
        for _, operation, number in _REQUESTS.findall(self.text()):
            counted[operation] += int(float(number))
        return counted

    def value(self, series: str) -> float | None:
        """The value of one series; None when it is not there."""
        for line in self.text().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return None

    def seconds_until(self, line: re.Pattern[str]) -> float:
        """How long it takes until a line is there."""
        begun = time.perf_counter()
        while not line.search(self.text()):
            if time.perf_counter() - begun > _LONGEST_SECONDS:
                raise RuntimeError(f"not within {_LONGEST_SECONDS} s: {line.pattern}")
            time.sleep(_PAUSE_SECONDS)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
