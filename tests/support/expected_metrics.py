"""The session metrics that `/metrics` must show for a simulated server, computed from the simulator's world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from typing import Any

from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World
from support.exporter_stepped import Key, Samples, Scrape

_RESULTS = ("Success", "Warning", "Failed")
_COUNTED = ("_total", "_bucket", "_sum", "_count")
_EXTRAS = tuple(
    f"vb365_restore_session_{name}" for name in ("items", "event", "last_event", "active_duration")
)
_TOTALS = ("vb365_restored_items_total", "vb365_restore_event_bytes_total")
_ZERO_FILLED = {"vb365_restore_sessions_working", "vb365_restore_sessions_stopped"}


def session_samples(scrape: Scrape, server: str) -> Samples:
    """Return the gauges of a server's sessions, without extras and the zeros of empty combinations."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if not name.endswith(_COUNTED)
        and not name.startswith(_EXTRAS)
        and (value or name not in _ZERO_FILLED)
    }


def extra_samples(scrape: Scrape, server: str) -> Samples:
    """Return the gauges of a server's sessions that come from extras."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if name.startswith(_EXTRAS)
    }


def total_samples(scrape: Scrape, server: str) -> Samples:
    """Return the totals of what a server's finished sessions restored, without zeros."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server, "vb365_restore").items()
        if name in _TOTALS and value
    }


def expected_extras(truth: Mapping[str, Any], server: str) -> Samples:
    """Return the samples that a session's extras must have.

    Args:
        truth: the session as the simulator's truth has it, with its events.
        server: the server's name.
    """
    own = {
        "session_id": truth["id"],
        "organization": truth["organization"] or "",
        "type": truth["type"],
    }
    name = "vb365_restore_session"
    expected: dict[Key, float] = {
        _key(f"{name}_items", server, **own, outcome=outcome): items
        for outcome, items in truth["statistics"].items()
    }
    events = Counter((event["operation"], event["status"]) for event in truth["events"])
    for (operation, status), count in events.items():
        key = _key(f"{name}_events", server, **own, operation=operation, status=status)
        expected[key] = count
    for operation, size in _event_bytes(truth).items():
        expected[_key(f"{name}_event_bytes", server, **own, operation=operation)] = size
    expected[_key(f"{name}_last_event_timestamp_seconds", server, **own)] = datetime.fromisoformat(
        truth["lastEventTime"]
    ).timestamp()
    if truth["activeDurationSeconds"] is not None:
        key = _key(f"{name}_active_duration_seconds", server, **own)
        expected[key] = truth["activeDurationSeconds"]
    return expected


def expected_totals(truths: Iterable[Mapping[str, Any]], server: str) -> Samples:
    """Return the totals, without zeros, that finished sessions must add up to; `truths` as in `expected_extras`."""
    totals: Counter[Key] = Counter()
    for truth in truths:
        group = {"organization": truth["organization"] or "", "type": truth["type"]}
        for outcome, items in truth["statistics"].items():
            totals[_key("vb365_restored_items_total", server, **group, outcome=outcome)] += items
        for operation, size in _event_bytes(truth).items():
            key = _key("vb365_restore_event_bytes_total", server, **group, operation=operation)
            totals[key] += size
    return {key: value for key, value in totals.items() if value}


def _event_bytes(truth: Mapping[str, Any]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for event in truth["events"]:
        sizes[event["operation"]] += event["bytes"]
    return sizes


def session_counters(scrape: Scrape, server: str) -> Samples:
    """Return the counters and histograms of a server's sessions."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if name.endswith(_COUNTED)
    }


def expected_samples(
    world: World, server: str, without: Container[str] = (), *, expired: Container[str] = ()
) -> Samples:
    """Return the gauges that a world's sessions must have.

    Args:
        world: the sessions.
        server: the server's name.
        without: ids of sessions that the exporter cannot see.
        expired: ids of sessions past their lookback, which still prove restores.
    """
    listed = [session for session in world.sessions() if session.id not in without]
    sessions = [session for session in listed if session.id not in expired]
    expected: dict[Key, float] = {}
    for session in sessions:
        expected |= samples_of(session, server)
    working = Counter(_group(session) for session in sessions if not session.stopped)
    stopped = Counter((*_group(session), session.result) for session in sessions if session.stopped)
    for (organization, kind), count in working.items():
        labels = {"organization": organization, "type": kind}
        expected[_key("vb365_restore_sessions_working", server, **labels)] = count
        expected[
            _key("vb365_restore_sessions_oldest_working_start_timestamp_seconds", server, **labels)
        ] = min(
            session.creation_time.timestamp()
            for session in sessions
            if not session.stopped and _group(session) == (organization, kind)
        )
    for (organization, kind, result), count in stopped.items():
        labels = {"organization": organization, "type": kind, "result": result}
        expected[_key("vb365_restore_sessions_stopped", server, **labels)] = count
        expected[_key("vb365_restore_sessions_last_end_timestamp_seconds", server, **labels)] = max(
            session.end_time.timestamp()
            for session in sessions
            if session.end_time
            and session.result == result
            and _group(session) == (organization, kind)
        )
    return expected | _last_restored(listed, server)


def _last_restored(sessions: Iterable[Session], server: str) -> dict[Key, float]:
    """Return when each organization last proved a restore, by type."""
    newest: dict[Key, float] = {}
    for session in sessions:
        if session.end_time is not None and session.proves_restore:
            organization, kind = _group(session)
            key = _key(
                "vb365_restore_sessions_last_restored_timestamp_seconds",
                server,
                organization=organization,
                type=kind,
            )
            newest[key] = max(session.end_time.timestamp(), newest.get(key, 0.0))
    return newest


def samples_of(session: Session, server: str) -> dict[Key, float]:
    """Return the samples that a session must have of its own."""
    own = {
        "session_id": session.id,
        "organization": session.organization or "",
        "type": session.type,
    }
    name = "vb365_restore_session"
    expected = {
        _key(f"{name}_state", server, **own, state=state): float(state == session.state)
        for state in ("Working", "Stopped")
    }
    expected[_key(f"{name}_start_timestamp_seconds", server, **own)] = (
        session.creation_time.timestamp()
    )
    if not session.stopped:
        return expected
    for result in _RESULTS:
        expected[_key(f"{name}_result", server, **own, result=result)] = float(
            result == session.result
        )
    expected[_key(f"{name}_processed_items", server, **own)] = session.processed_items
    if session.end_time is not None:
        seconds = (session.end_time - session.creation_time).total_seconds()
        expected[_key(f"{name}_end_timestamp_seconds", server, **own)] = (
            session.end_time.timestamp()
        )
        expected[_key(f"{name}_duration_seconds", server, **own)] = seconds
    return expected


def _group(session: Session) -> tuple[str, str]:
    return session.organization or "", session.type


def _key(name: str, server: str, **labels: str) -> Key:
    return name, frozenset({**labels, "server": server}.items())
