from __future__ import annotations

import threading

from exporter.polling.changefeed import ChangeQueue, PendingChanges
from exporter.vb365.records.changes import ChangeKind, SessionChange


def update(session_id: str, e_tag: int = 1) -> SessionChange:
    return SessionChange(kind=ChangeKind.UPDATE, session_id=session_id, e_tag=e_tag)


def delete(session_id: str) -> SessionChange:
    return SessionChange(kind=ChangeKind.DELETE, session_id=session_id)


def test_of_several_changes_of_a_session_the_last_one_counts_in_its_place() -> None:
    queue = ChangeQueue()

    queue.put([update("a"), update("b")])
    queue.put([delete("a")])

    assert PendingChanges(changes=(update("b"), delete("a"))) == queue.take()


def test_what_was_taken_is_not_told_again() -> None:
    queue = ChangeQueue()
    queue.put([update("a")])
    queue.mark_gap(lost=False)

    assert PendingChanges(changes=(update("a"),), gap=True) == queue.take()
    assert not queue.take()


def test_a_wait_ends_when_something_is_told() -> None:
    queue = ChangeQueue()
    told: list[PendingChanges] = []
    waiting = threading.Thread(target=lambda: told.append(queue.wait(60)))
    waiting.start()

    queue.put([update("a")])
    waiting.join(10)

    assert [PendingChanges(changes=(update("a"),))] == told


def test_a_wait_ends_without_anything_when_it_is_woken() -> None:
    queue = ChangeQueue()
    queue.wake()

    assert not queue.wait(60)


def test_no_changes_end_no_wait() -> None:
    queue = ChangeQueue()
    queue.put([])

    assert not queue.wait(0)
