"""What `/metrics` has to say of a simulated server's sessions, worked out from the simulator's own world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World
from support.exporter_stepped import Key, Samples, Scrape

_RESULTS = ("Success", "Warning", "Failed")
_COUNTED = ("_total", "_bucket", "_sum", "_count")
_ZERO_FILLED = {"vb365_restore_sessions_working", "vb365_restore_sessions_stopped"}


def session_samples(scrape: Scrape, server: str) -> Samples:
    """What is said of a server's sessions as they are now: no counters, and no zeros of empty combinations."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if not name.endswith(_COUNTED) and (value or name not in _ZERO_FILLED)
    }


def session_counters(scrape: Scrape, server: str) -> Samples:
    """The counters and histograms of a server's sessions."""
    return {
        (name, labels): value
        for (name, labels), value in scrape.of(server).items()
        if name.endswith(_COUNTED)
    }


def expected_samples(world: World, server: str, without: Container[str] = ()) -> Samples:
    """The statements that are true of a world, or of it without some sessions, each of them as old as it likes."""
    sessions = [session for session in world.sessions() if session.id not in without]
    told: dict[Key, float] = {}
    for session in sessions:
        told |= _of_session(session, server)
    working = Counter(_group(session) for session in sessions if not session.stopped)
    stopped = Counter((*_group(session), session.result) for session in sessions if session.stopped)
    for (organization, kind), count in working.items():
        labels = {"organization": organization, "type": kind}
        told[_key("vb365_restore_sessions_working", server, **labels)] = count
        told[
            _key("vb365_restore_sessions_oldest_working_start_timestamp_seconds", server, **labels)
        ] = min(
            session.creation_time.timestamp()
            for session in sessions
            if not session.stopped and _group(session) == (organization, kind)
        )
    for (organization, kind, result), count in stopped.items():
        labels = {"organization": organization, "type": kind, "result": result}
        told[_key("vb365_restore_sessions_stopped", server, **labels)] = count
        told[_key("vb365_restore_sessions_last_end_timestamp_seconds", server, **labels)] = max(
            session.end_time.timestamp()
            for session in sessions
            if session.end_time
            and session.result == result
            and _group(session) == (organization, kind)
        )
    return told


def _of_session(session: Session, server: str) -> dict[Key, float]:
    own = {
        "session_id": session.id,
        "organization": session.organization or "",
        "type": session.type,
    }
    name = "vb365_restore_session"
    told = {
        _key(f"{name}_state", server, **own, state=state): float(state == session.state)
        for state in ("Working", "Stopped")
    }
    told[_key(f"{name}_start_timestamp_seconds", server, **own)] = session.creation_time.timestamp()
    if not session.stopped:
        return told
    for result in _RESULTS:
        told[_key(f"{name}_result", server, **own, result=result)] = float(result == session.result)
    told[_key(f"{name}_processed_items", server, **own)] = session.processed_items
    if session.end_time is not None:
        seconds = (session.end_time - session.creation_time).total_seconds()
        told[_key(f"{name}_end_timestamp_seconds", server, **own)] = session.end_time.timestamp()
        told[_key(f"{name}_duration_seconds", server, **own)] = seconds
    return told


def _group(session: Session) -> tuple[str, str]:
    return session.organization or "", session.type


def _key(name: str, server: str, **labels: str) -> Key:
    return name, frozenset({**labels, "server": server}.items())
