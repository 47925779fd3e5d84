"""Which faults are set, and which of them strikes next; `catalogue` has their names, `misbehaviour` what they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from threading import RLock

from exporter.simulator.api.routes import OPERATIONS
from exporter.simulator.faults.catalogue import ALL, CATALOGUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that is set: where, for which session, how often still (None: for ever), how probably."""

    name: str
    route: str
    session_id: str | None = None
    first: int | None = None
    probability: float = 1.0
    value: float = 0.0
    target: str = ""

    def concerns(self, operation: str, session_id: str | None, grant: str) -> bool:
        """Whether it strikes requests of this operation about this session.

        A list is about every session: there, a fault for one session damages that session only.
        """
        routes = {operation, ALL} if operation in {"token", "logout"} else {operation, ALL, "api"}
        if self.route not in routes:
            return False
        if self.session_id not in (None, session_id) and operation != "list":
            return False
        return CATALOGUE[self.name].grant in {"", grant}


class Faults:
    """The faults that are set now; of those that concern a request, the one set first strikes.

    Args:
        seed: Makes what a probability decides repeatable.
        changed: Called after each change.
    """

    def __init__(self, seed: int = 1, changed: Callable[[], None] = lambda: None) -> None:
        self._random = Random(seed)  # noqa: S311 - repeatable, nothing secret
        self._changed = changed
        self._lock = RLock()
        self._active: list[Fault] = []
        self.hits: Counter[str] = Counter()

    def set(
        self,
        name: str,
        *,
        route: str | None = None,
        session_id: str | None = None,
        first: int | None = None,
        probability: float = 1.0,
        value: float | None = None,
        target: str | None = None,
    ) -> None:
        """Set a fault, in place of one with the same name, route and session.

        Args:
            name: One of `CATALOGUE`.
            route: An operation, "all", or "api" for all but the token endpoint; None for the fault's own.
            session_id: Strike only what is about this session.
            first: Strike only so many requests (or connections), then be gone.
            probability: How probably each request is struck.
            value: The fault's number, see `CATALOGUE`; None for its own.
            target: The fault's URL, for those that lead elsewhere; None for its own.

        Raises:
            ValueError: One of them is wrong; the message names the value.
        """
        definition = CATALOGUE.get(name)
        if definition is None:
            raise ValueError(f"unknown fault {name!r}")
        if route is not None and route not in {ALL, "api", *OPERATIONS}:
            raise ValueError(f"unknown route {route!r}")
        if definition.scope == "connection" and (route not in (None, ALL) or session_id):
            raise ValueError(f"{name} strikes connections: it has no route and no session")
        if name == "connection_refused" and (first is not None or probability < 1):
            raise ValueError(f"{name} has no first and no probability: nobody counts")
        if first is not None and first < 1:
            raise ValueError(f"first must be at least 1, not {first}")
        if not 0 < probability <= 1:
            raise ValueError(f"probability must be above 0 and at most 1, not {probability}")
        fault = Fault(
            name=name,
            route=route or definition.route,
            session_id=session_id.lower() if session_id else None,
            first=definition.first if first is None else first,
            probability=probability,
            value=definition.value if value is None else value,
            target=definition.target if target is None else target,
        )
        with self._lock:
            self._active = [
                other
                for other in self._active
                if (other.name, other.route, other.session_id)
                != (fault.name, fault.route, fault.session_id)
            ]
            self._active.append(fault)
        self._changed()

    def clear(self, name: str | None = None) -> None:
        """End the faults of this name, or all.

        Raises:
            ValueError: There is no such name.
        """
        if name is not None and name not in CATALOGUE:
            raise ValueError(f"unknown fault {name!r}")
        with self._lock:
            self._active = [fault for fault in self._active if name not in (None, fault.name)]
        self._changed()

    def active(self) -> tuple[Fault, ...]:
        """The faults that are set."""
        with self._lock:
            return tuple(self._active)

    def of_connections(self) -> tuple[Fault, ...]:
        """The faults that are set and strike connections."""
        return tuple(
            fault for fault in self.active() if CATALOGUE[fault.name].scope == "connection"
        )

    def strike_connection(self) -> Fault | None:
        """The fault that a new connection meets, if any."""
        with self._lock:
            return self._strike(self.of_connections())

    def strike(self, operation: str, session_id: str | None, grant: str = "") -> Fault | None:
        """The fault that a request meets, if any."""
        with self._lock:
            return self._strike(
                fault
                for fault in self.active()
                if CATALOGUE[fault.name].scope == "request"
                and fault.concerns(operation, session_id, grant)
            )

    def _strike(self, candidates: Iterable[Fault]) -> Fault | None:
        for fault in candidates:
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            self.hits[fault.name] += 1
            if fault.first is not None:
                self._use_up(fault)
            return fault
        return None

    def _use_up(self, fault: Fault) -> None:
        position = self._active.index(fault)
        if fault.first == 1:
            del self._active[position]
        else:
            self._active[position] = replace(fault, first=(fault.first or 0) - 1)
