from __future__ import annotations

import tracemalloc

from exporter.audit.record import Event, Told
from exporter.audit.written import Written
from exporter.vb365.records.restore_session import SessionState
from support.sample_sessions import finished, running, session_id

STARTED = Told(Event.STARTED, "hq", session_id(1))
ENDED = Told(Event.ENDED, "hq", session_id(1))


def test_what_runs_has_started_and_what_is_stopped_has_started_and_ended() -> None:
    written = Written()

    assert written.missing("hq", running(1)) == (Event.STARTED,)
    assert written.missing("hq", running(1, state=SessionState.UNKNOWN)) == (Event.STARTED,)
    assert written.missing("hq", finished(1)) == (Event.STARTED, Event.ENDED)


def test_what_was_written_is_not_missing() -> None:
    written = Written([STARTED])

    assert written.missing("hq", running(1)) == ()
    assert written.missing("hq", finished(1)) == (Event.ENDED,)
    written.add(ENDED)
    assert written.missing("hq", running(1)) == ()
    assert written.missing("hq", finished(1)) == ()


def test_an_end_says_that_the_start_was_written_in_whatever_order_they_are_read() -> None:
    for told in ([ENDED], [ENDED, STARTED], [STARTED, ENDED]):
        written = Written(told)

        assert written.missing("hq", running(1)) == ()
        assert len(written) == 1


def test_the_same_id_on_another_server_is_another_session() -> None:
    assert Written([STARTED]).missing("branch", running(1)) == (Event.STARTED,)


def test_a_session_that_ended_can_be_forgotten_and_one_that_runs_cannot() -> None:
    written = Written([ENDED, Told(Event.STARTED, "hq", session_id(2))])

    for told in (STARTED, ENDED, Told(Event.STARTED, "hq", session_id(2))):
        written.forget(told)

    assert len(written) == 1
    assert written.missing("hq", running(2)) == ()
    assert written.missing("hq", running(1)) == (Event.STARTED,)


def test_a_session_is_remembered_in_little_memory() -> None:
    told = [Told(Event.ENDED, "hq", session_id(number)) for number in range(20_000)]
    tracemalloc.start()
    try:
        written = Written(told)
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(written) == 20_000
    assert size_bytes < 20_000 * 200
