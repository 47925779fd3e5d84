from __future__ import annotations

from typing import Any

import pytest

from exporter.vb365.records.extras import (
    EventOperation,
    EventStatus,
    EventSummary,
    EventTally,
    Statistics,
    parse_statistics,
)
from exporter.vb365.records.fields import UnknownValue


def event(number: int, **changes: Any) -> dict[str, Any]:
    """An event as v6 sends it; a change to `...` leaves the field out."""
    made = {
        "id": f"event {number}",
        "type": "Restore",
        "status": "Success",
        "itemSizeBytes": 1000,
        "itemName": "Re: salaries",
        "source": "Ben Young\\ChangeQueue",
        "order": number,
        **changes,
    }
    return {key: value for key, value in made.items() if value is not ...}


def summary(*pages: list[object]) -> EventSummary:
    tally = EventTally()
    for page in pages:
        tally.add(page)
    return tally.summary()


def test_statistics_are_three_counts() -> None:
    record = {
        "totalItemsCount": 12,
        "restoredItemsCount": 10,
        "failedItemsCount": "1",
        "skippedItemsCount": 1,
        "items": [{"name": "Report.docx"}],
    }

    assert Statistics(restored=10, failed=1, skipped=1) == parse_statistics(record)


def test_a_count_that_the_server_does_not_send_is_not_invented() -> None:
    assert Statistics(restored=3) == parse_statistics(
        {"restoredItemsCount": 3, "failedItemsCount": None}
    )


@pytest.mark.parametrize("bad", [-1, 2**63, 1.5, True, "many", [], {}])
def test_statistics_with_an_impossible_count_are_none(bad: object) -> None:
    assert parse_statistics({"restoredItemsCount": bad}) is None


@pytest.mark.parametrize("record", [None, [], "text", 3])
def test_what_is_no_object_is_no_statistics(record: object) -> None:
    assert parse_statistics(record) is None


def test_events_are_counted_by_what_was_done_and_what_came_of_it() -> None:
    told = summary(
        [
            event(0, type="None", itemSizeBytes=0),
            event(1),
            event(2, itemSizeBytes="24"),
            event(3, status="Failed", itemSizeBytes=...),
            event(4, type="view", itemSizeBytes=None),
        ]
    )

    assert told.counts == {
        (EventOperation.NONE, EventStatus.SUCCESS): 1,
        (EventOperation.RESTORE, EventStatus.SUCCESS): 2,
        (EventOperation.RESTORE, EventStatus.FAILED): 1,
        (EventOperation.VIEW, EventStatus.SUCCESS): 1,
    }
    assert told.size_bytes == {
        EventOperation.NONE: 0,
        EventOperation.RESTORE: 1024,
        EventOperation.VIEW: 0,
    }
    assert told.unreadable == 0


def test_values_of_a_newer_server_count_as_unknown_and_are_told_once() -> None:
    told = summary([event(1, type="Teleport"), event(2, type="Teleport"), event(3, status="Lost")])

    assert told.counts == {
        (EventOperation.UNKNOWN, EventStatus.SUCCESS): 2,
        (EventOperation.RESTORE, EventStatus.UNKNOWN): 1,
    }
    assert (
        UnknownValue(field="event_type", value="Teleport"),
        UnknownValue(field="event_status", value="Lost"),
    ) == told.unknown_values


def test_one_record_that_is_no_event_does_not_spoil_the_others() -> None:
    told = summary(["text", None, event(1, type=7), event(2, itemSizeBytes=-5), event(3)])

    assert told.counts == {(EventOperation.RESTORE, EventStatus.SUCCESS): 1}
    assert told.unreadable == 4


def test_an_event_that_moved_to_the_next_page_is_counted_once() -> None:
    told = summary([event(2), event(1)], [event(1), event(0)])

    assert told.counts == {(EventOperation.RESTORE, EventStatus.SUCCESS): 3}


def test_nothing_personal_is_kept() -> None:
    told = summary([event(1, message="Item Re: salaries was restored")])

    assert "salaries" not in repr(told)
    assert "Ben" not in repr(told)


def test_memory_does_not_grow_with_hostile_values() -> None:
    page: list[object] = [event(number, type=f"type {number}") for number in range(1000)]

    assert len(summary(page).unknown_values) == 16
