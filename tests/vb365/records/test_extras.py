from __future__ import annotations

from datetime import UTC, datetime
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
    """An event as v6 sends it; a change to `...` omits the field."""
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


def test_statistics_are_three_counts_and_their_total() -> None:
    record = {
        "totalItemsCount": 12,
        "restoredItemsCount": 10,
        "failedItemsCount": "1",
        "skippedItemsCount": 1,
        "items": [{"name": "Report.docx"}],
    }

    assert parse_statistics(record) == Statistics(restored=10, failed=1, skipped=1, total=12)


def test_a_count_that_the_server_does_not_send_is_not_invented() -> None:
    record = {"restoredItemsCount": 3, "failedItemsCount": None}

    assert parse_statistics(record) == Statistics(restored=3)


@pytest.mark.parametrize("field", ["restored", "failed", "skipped"])
@pytest.mark.parametrize("count", [0, 2**63 - 1])
def test_a_count_is_any_number_from_0_to_the_largest_of_64_bits(field: str, count: int) -> None:
    assert parse_statistics({f"{field}ItemsCount": count}) == Statistics(**{field: count})


@pytest.mark.parametrize("field", ["restored", "failed", "skipped", "total"])
@pytest.mark.parametrize("bad", [-1, 2**63, 1.5, True, "many", [], {}])
def test_statistics_with_an_impossible_count_are_rejected(field: str, bad: object) -> None:
    assert parse_statistics({"restoredItemsCount": 1, f"{field}ItemsCount": bad}) is None


def test_the_total_may_be_0() -> None:
    record = {"restoredItemsCount": 0, "totalItemsCount": 0}

    assert parse_statistics(record) == Statistics(restored=0, total=0)


@pytest.mark.parametrize("record", [None, [], "text", 3, {}, {"message": "busy"}])
def test_statistics_are_an_object_with_a_count(record: object) -> None:
    assert parse_statistics(record) is None


def test_events_are_counted_by_operation_and_status() -> None:
    sums = summary(
        [
            event(0, type="None", itemSizeBytes=0),
            event(1),
            event(2, itemSizeBytes="24"),
            event(3, status="Failed", itemSizeBytes=...),
            event(4, type="view", itemSizeBytes=None),
        ]
    )

    assert sums.counts == {
        (EventOperation.NONE, EventStatus.SUCCESS): 1,
        (EventOperation.RESTORE, EventStatus.SUCCESS): 2,
        (EventOperation.RESTORE, EventStatus.FAILED): 1,
        (EventOperation.VIEW, EventStatus.SUCCESS): 1,
    }
    assert sums.size_bytes == {
        EventOperation.NONE: 0,
        EventOperation.RESTORE: 1024,
        EventOperation.VIEW: 0,
    }
    assert sums.unreadable == 0


def opening(**changes: Any) -> dict[str, Any]:
    """The event that opens a session, at 12:00 as v6 sends it."""
    return event(
        0, type="None", startTime="2026-03-01T12:00:00Z", endTime="2026-03-01T12:00:00Z", **changes
    )


def timed(number: int, started: str, ended: str, **changes: Any) -> dict[str, Any]:
    """An event of an item, at times of the same day."""
    return event(
        number, startTime=f"2026-03-01T{started}", endTime=f"2026-03-01T{ended}", **changes
    )


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 3, 1, hour, minute, second, tzinfo=UTC)


def test_the_last_event_is_the_newest_time_of_any_event_and_items_alone_are_activity() -> None:
    sums = summary(
        [
            opening(),
            timed(1, "12:10:00Z", "12:10:30Z"),
            timed(2, "12:20:00Z", "12:21:00.5Z", type="View", status="Failed"),
        ],
        [event(3, type="None", startTime="2026-03-01T13:00:00Z", endTime="2026-03-01T13:00:00Z")],
    )

    assert sums.last_event_at == at(13, 0)
    assert (sums.active_since, sums.active_until) == (
        at(12, 10),
        at(12, 21).replace(microsecond=500_000),
    )
    assert sums.active_seconds == 660.5


def test_times_do_not_depend_on_the_order_of_events_nor_on_their_offset() -> None:
    events: list[object] = [
        timed(2, "15:20:00+03:00", "15:21:00+03:00"),
        timed(1, "12:10:00Z", "12:10:30Z"),
        opening(),
    ]

    assert summary(events).active_seconds == 660.0
    assert summary(events).last_event_at == at(12, 21)


def test_a_session_that_was_only_opened_has_a_last_event_and_no_activity() -> None:
    sums = summary([opening()])

    assert sums.last_event_at == at(12, 0)
    assert (sums.active_since, sums.active_until, sums.active_seconds) == (None, None, None)


@pytest.mark.parametrize("unended", [None, ..., "9999-12-31T23:59:59.9999999Z"])
def test_an_item_in_progress_is_active_until_its_start(unended: object) -> None:
    sums = summary(
        [opening(), timed(1, "12:10:00Z", "12:10:30Z")],
        [event(2, startTime="2026-03-01T12:30:00Z", endTime=unended)],
    )

    assert sums.last_event_at == at(12, 30)
    assert sums.active_seconds == 1200.0


def test_an_item_that_ends_before_it_starts_makes_no_negative_activity() -> None:
    sums = summary([timed(1, "12:10:30Z", "12:10:00Z")])

    assert sums.active_seconds == 30.0


def test_events_without_times_are_counted_and_leave_the_times_unknown() -> None:
    sums = summary([event(1)])

    assert sum(sums.counts.values()) == 1
    assert (sums.last_event_at, sums.active_seconds) == (None, None)


@pytest.mark.parametrize("field", ["startTime", "endTime"])
@pytest.mark.parametrize("bad", ["noon", 17, True, {}, "2026-03-01"])
def test_an_event_with_an_unreadable_time_is_unreadable(field: str, bad: object) -> None:
    sums = summary([opening(), event(1, **{field: bad})])

    assert sums.counts == {(EventOperation.NONE, EventStatus.SUCCESS): 1}
    assert sums.unreadable == 1


def test_values_of_a_newer_server_count_as_unknown_and_are_noted_once() -> None:
    sums = summary([event(1, type="Teleport"), event(2, type="Teleport"), event(3, status="Lost")])

    assert sums.counts == {
        (EventOperation.UNKNOWN, EventStatus.SUCCESS): 2,
        (EventOperation.RESTORE, EventStatus.UNKNOWN): 1,
    }
    assert sums.unknown_values == (
        UnknownValue(field="event_type", value="Teleport"),
        UnknownValue(field="event_status", value="Lost"),
    )


def test_an_unreadable_event_is_counted_and_does_not_hide_the_others() -> None:
    sums = summary(["text", None, event(1, type=7), event(2, itemSizeBytes=-5), event(3)])

    assert sums.counts == {(EventOperation.RESTORE, EventStatus.SUCCESS): 1}
    assert sums.unreadable == 4


@pytest.mark.parametrize("distance", [1, 2])
def test_an_event_on_two_pages_is_a_repetition(distance: int) -> None:
    pages = [[event(2 * page), event(2 * page + 1)] for page in range(3)]
    tally = EventTally()
    for page in pages:
        tally.add(page)
    assert not tally.has_repetitions()

    moved = EventTally()
    pages[distance][0] = event(1)
    for page in pages:
        moved.add(page)
    assert moved.has_repetitions()


def test_an_event_that_comes_twice_in_a_page_is_counted_once() -> None:
    sums = summary([event(1), event(1), event(0)])

    assert sums.counts == {(EventOperation.RESTORE, EventStatus.SUCCESS): 2}


@pytest.mark.parametrize("event_id", [..., None, 7])
def test_events_without_an_id_are_all_counted(event_id: object) -> None:
    sums = summary([event(1, id=event_id), event(2, id=event_id)], [event(3, id=event_id)])

    assert sums.counts == {(EventOperation.RESTORE, EventStatus.SUCCESS): 3}


def test_nothing_personal_is_kept() -> None:
    sums = summary([event(1, message="Item Re: salaries was restored")])

    assert "salaries" not in repr(sums)
    assert "Ben" not in repr(sums)


def test_memory_does_not_grow_with_hostile_values() -> None:
    page: list[object] = [event(number, type=f"type {number}") for number in range(1000)]

    assert len(summary(page).unknown_values) == 16
    assert len(summary(page[:16]).unknown_values) == 16


def test_item_counts_by_outcome_leave_out_those_that_the_server_does_not_send() -> None:
    everything = Statistics(restored=3, failed=2, skipped=0)

    assert everything.by_outcome() == {"restored": 3, "failed": 2, "skipped": 0}
    assert Statistics(failed=1).by_outcome() == {"failed": 1}
