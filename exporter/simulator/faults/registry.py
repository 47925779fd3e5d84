"""The faults that are set and the requests that they affect; `catalogue` describes them, `handlers` implements them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from threading import RLock

from exporter.simulator.api.routes import OPERATIONS
from exporter.simulator.faults.catalogue import ALL, CATALOGUE

ROUTES = (ALL, "api", *OPERATIONS)
"""What a fault can affect: everything, all but the token endpoint, or one operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that is set; `first` is the number of requests still to affect, None means no limit."""

    name: str
    route: str
    session_id: str | None = None
    first: int | None = None
    probability: float = 1.0
    value: float = 0.0
    target: str = ""

    def matches(self, operation: str, session_id: str | None, grant_type: str) -> bool:
        """Whether the fault affects requests of this operation for this session.

        A list concerns all sessions; a fault for one session affects only that session in it.
        """
        routes = {operation, ALL} if operation in {"token", "logout"} else {operation, ALL, "api"}
        if self.route not in routes:
            return False
        if self.session_id not in (None, session_id) and operation != "list":
            return False
        return CATALOGUE[self.name].grant_type in {"", grant_type}


class Faults:
    """The faults that are set; if several match a request, the one set first takes effect.

    Args:
        seed: makes probabilities reproducible.
        changed: called after each change.
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
        """Set a fault; it replaces one with the same name, route and session.

        Args:
            name: a name in `CATALOGUE`.
            route: an operation, "all", or "api" for all but the token endpoint; None for the default.
            session_id: affect only this session.
            first: affect only this many requests or connections.
            probability: probability of each request to be affected.
            value: numeric parameter, see `CATALOGUE`; None for the default.
            target: URL of faults that lead to another host; None for the default.

        Raises:
            ValueError: an argument is invalid; the message contains it.
        """
        definition = CATALOGUE.get(name)
        if definition is None:
            raise ValueError(f"unknown fault {name!r}")
        if route is not None and route not in ROUTES:
            raise ValueError(f"unknown route {route!r}; known: {', '.join(ROUTES)}")
        if definition.scope == "connection" and (route not in (None, ALL) or session_id):
            raise ValueError(f"{name} affects connections: it takes no route and no session")
        if name == "connection_refused" and (first is not None or probability < 1):
            raise ValueError(f"{name} takes no first and no probability")
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
        """Clear the faults with this name, or all.

        Raises:
            ValueError: the name is unknown.
        """
        if name is not None and name not in CATALOGUE:
            raise ValueError(f"unknown fault {name!r}")
        with self._lock:
            self._active = [fault for fault in self._active if name not in (None, fault.name)]
        self._changed()

    def active(self) -> tuple[Fault, ...]:
        """Return the faults that are set."""
        with self._lock:
            return tuple(self._active)

    def connection_faults(self) -> tuple[Fault, ...]:
        """Return the connection faults that are set."""
        return tuple(
            fault for fault in self.active() if CATALOGUE[fault.name].scope == "connection"
        )

    def next_for_connection(self) -> Fault | None:
        """Return the fault of a new connection, if any."""
        with self._lock:
            return self._next(self.connection_faults())

    def next_for_request(
        self, operation: str, session_id: str | None, grant_type: str = ""
    ) -> Fault | None:
        """Return the fault of a request, if any."""
        with self._lock:
            return self._next(
                fault
                for fault in self.active()
                if CATALOGUE[fault.name].scope == "request"
                and fault.matches(operation, session_id, grant_type)
            )

    def _next(self, candidates: Iterable[Fault]) -> Fault | None:
        for fault in candidates:
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            self.hits[fault.name] += 1
            if fault.first is not None:
                self._consume(fault)
            return fault
        return None

    def _consume(self, fault: Fault) -> None:
        position = self._active.index(fault)
        if fault.first == 1:
            del self._active[position]
        else:
            self._active[position] = replace(fault, first=(fault.first or 0) - 1)
