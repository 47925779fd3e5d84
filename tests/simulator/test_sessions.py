from __future__ import annotations

from datetime import UTC, datetime

import pytest

from exporter.simulator.world.events import events_of
from exporter.simulator.world.sessions import (
    Session,
    check_items,
    datetime_from_ticks,
    ticks_from_datetime,
    ticks_from_text,
    timestamp,
)

BASE = ticks_from_datetime(datetime(2022, 2, 22, 15, 40, 25, tzinfo=UTC))


def session(items: str = "", *, ended: int | None = None) -> Session:
    return Session(
        id="635b22cf-9cdc-4004-9160-9b90f90f1bbf",
        name="Exchange restore",
        organization="contoso",
        type="Vex",
        created=BASE,
        ended=ended,
        state="Working" if ended is None else "Stopped",
        result="Success",
        items=items,
    )


@pytest.mark.parametrize(
    ("ticks", "text"),
    [
        (BASE, "2022-02-22T15:40:25Z"),
        (BASE + 1_612_392, "2022-02-22T15:40:25.1612392Z"),
        (BASE + 4_717_480, "2022-02-22T15:40:25.471748Z"),
        (BASE + 5_000_000, "2022-02-22T15:40:25.5Z"),
        (BASE + 1, "2022-02-22T15:40:25.0000001Z"),
    ],
)
def test_a_timestamp_has_no_trailing_zeros_and_reads_back(ticks: int, text: str) -> None:
    assert timestamp(ticks) == text
    assert ticks_from_text(text) == ticks


@pytest.mark.parametrize(
    "text",
    ["2022-02-22T17:40:25+02:00", "2022-02-22 15:40:25", "2022-02-22T15:40:25.0000000Z"],
)
def test_a_time_is_parsed_with_any_offset_and_as_utc_without_one(text: str) -> None:
    assert ticks_from_text(text) == BASE


def test_a_date_is_its_midnight() -> None:
    assert timestamp(ticks_from_text("2022-02-22")) == "2022-02-22T00:00:00Z"


@pytest.mark.parametrize("text", ["", "yesterday", "2022-13-01", "2022-02-22T15:40:25.12345678Z"])
def test_an_invalid_time_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ticks_from_text(text)


def test_a_datetime_has_the_microseconds_of_its_ticks() -> None:
    assert datetime_from_ticks(BASE + 19).microsecond == 1
    assert session(ended=BASE + 10).end_time == datetime(2022, 2, 22, 15, 40, 25, 1, tzinfo=UTC)
    assert session().end_time is None
    assert session().creation_time == datetime(2022, 2, 22, 15, 40, 25, tzinfo=UTC)


def test_statistics_count_items_by_outcome() -> None:
    counted = session("oorrrwfscca")

    assert counted.statistics == {"restored": 4, "failed": 1, "skipped": 3}
    assert counted.processed_items == 8


def test_there_is_an_event_for_the_start_each_item_and_the_end() -> None:
    entries = events_of(session("orwfsc", ended=BASE + 3600 * 10_000_000))

    assert [entry.order for entry in entries] == list(range(8))
    assert [entry.status for entry in entries] == [
        "Success",
        "Success",
        "Success",
        "Warning",
        "Failed",
        "Skipped",
        "Cancelled",
        "Success",
    ]
    assert [entry.operation for entry in entries[:2]] == ["None", "View"]
    assert entries[-1].title == "Restore session stopped"
    assert all(entry.ended is not None and entry.ended >= entry.started for entry in entries)


def test_the_event_of_an_item_in_progress_is_running_without_an_end() -> None:
    *_, last = events_of(session("ra"))

    assert (last.status, last.ended) == ("Running", None)


def test_an_event_does_not_change_when_others_follow() -> None:
    assert events_of(session("rr")) == events_of(session("rrf"))[:3]


def test_nothing_happens_after_the_end() -> None:
    end = BASE + 50_000_000

    assert max(entry.started for entry in events_of(session("r" * 20, ended=end))) == end


def test_unknown_item_letters_are_rejected() -> None:
    check_items("orwfsca")
    with pytest.raises(ValueError, match="'rx'"):
        check_items("rx")
