"""The session metrics that `/metrics` must show for a simulated server, computed from the simulator's world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable

from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World
from support.exporter_stepped import Key, Samples, Scrape

_RESULTS = ("Success", "Warning", "Failed")
_COUNTED = ("_total", "_bucket", "_sum", "_count")
_ZERO_FILLED = {"vb365_restore_sessions_working", "vb365_restore_sessions_stopped"}


def session_samples(scrape: Scrape, server: str) -> Samples:
    """Return the gauges of a server's sessions, without the zeros of empty combinations."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if not name.endswith(_COUNTED) and (value or name not in _ZERO_FILLED)
    }


def session_counters(scrape: Scrape, server: str) -> Samples:
    """Return the counters and histograms of a server's sessions."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if name.endswith(_COUNTED)
    }


def expected_samples(world: World, server: str, without: Container[str] = ()) -> Samples:
    """Return the gauges that a world's sessions, except those in `without`, must have; lookback is not applied."""
    sessions = [session for session in world.sessions() if session.id not in without]
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
    return expected | _last_restored(sessions, server)


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
