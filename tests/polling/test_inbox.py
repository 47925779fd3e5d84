from __future__ import annotations

import threading

from exporter.polling.inbox import ChangeQueue, Told
from exporter.vb365.records.changes import ChangeKind, SessionChange


def update(session_id: str, e_tag: int = 1) -> SessionChange:
    return SessionChange(kind=ChangeKind.UPDATE, session_id=session_id, e_tag=e_tag)


def delete(session_id: str) -> SessionChange:
    return SessionChange(kind=ChangeKind.DELETE, session_id=session_id)


def test_of_several_changes_of_a_session_the_last_one_counts_in_its_place() -> None:
    inbox = ChangeQueue()

    inbox.put([update("a"), update("b")])
    inbox.put([delete("a")])

    assert Told(changes=(update("b"), delete("a"))) == inbox.take()


def test_what_was_taken_is_not_told_again() -> None:
    inbox = ChangeQueue()
    inbox.put([update("a")])
    inbox.put_gap(lost=False)

    assert Told(changes=(update("a"),), gap=True) == inbox.take()
    assert not inbox.take()


def test_a_wait_ends_when_something_is_told() -> None:
    inbox = ChangeQueue()
    told: list[Told] = []
    waiting = threading.Thread(target=lambda: told.append(inbox.wait(60)))
    waiting.start()

    inbox.put([update("a")])
    waiting.join(10)

    assert [Told(changes=(update("a"),))] == told


def test_a_wait_ends_without_anything_when_it_is_woken() -> None:
    inbox = ChangeQueue()
    inbox.wake()

    assert not inbox.wait(60)


def test_no_changes_end_no_wait() -> None:
    inbox = ChangeQueue()
    inbox.put([])

    assert not inbox.wait(0)
