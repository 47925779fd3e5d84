from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum

import pytest

from exporter.vb365.records.fields import (
    BadFieldError,
    EnumReader,
    RejectionReason,
    UnknownValue,
    read_integer,
    read_time,
)


class Colour(StrEnum):
    """An enum with one known value."""

    RED = "Red"
    UNKNOWN = "Unknown"


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2022-02-22T15:40:25Z", 0),
        ("2022-02-22T15:40:25.1Z", 100000),
        ("2022-02-22T15:40:25.471748Z", 471748),
        ("2022-02-22T15:40:25.1612392Z", 161239),
        ("2022-02-22T18:40:25.5+03:00", 500000),
        ("2022-02-22T08:40:25.25-07:00", 250000),
        ("2022-02-22T15:40:25", 0),
        ("2022-02-22t15:40:25Z", 0),
        ("2022-02-22 15:40:25Z", 0),
    ],
)
def test_timestamps_have_up_to_seven_digits_and_any_offset(text: str, microseconds: int) -> None:
    moment = read_time({"t": text}, "t")

    assert moment == datetime(2022, 2, 22, 15, 40, 25, microseconds, UTC)
    assert moment is not None
    assert moment.tzinfo is UTC


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the local time zone cannot be set")
def test_a_timestamp_without_an_offset_is_utc_whatever_the_local_time_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST+5")
        time.tzset()
        moment = read_time({"t": "2022-02-22T15:40:25"}, "t")
    time.tzset()

    assert moment == datetime(2022, 2, 22, 15, 40, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "20220222",
        "2022-02-22",
        "2022-W08-2",
        "2022-W08-2T15:40:25Z",
        "20220222T154025.000000Z",
        "2022-02-22T15:40",
        "2022-02-22T15:40Z",
        "2022-02-22_15:40:25Z",
        "2022-02-22X15:40:25Z",
        "2022-02-30T00:00:00Z",
        "x" * 99,
    ],
)
def test_any_other_text_is_not_a_timestamp(text: str) -> None:
    with pytest.raises(BadFieldError) as caught:
        read_time({"t": text}, "t")

    assert (caught.value.reason, caught.value.field) == (RejectionReason.BAD_TIME, "t")


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("0001-12-31T23:59:59Z", None),
        ("0002-01-01T00:00:00Z", 2),
        ("0002-01-01T00:00:00+14:00", 1),
        ("9998-12-31T23:59:59Z", 9998),
        ("9998-12-31T23:59:59-14:00", 9999),
        ("9999-01-01T00:00:00Z", None),
    ],
)
def test_the_years_1_and_9999_as_written_stand_for_never(text: str, year: int | None) -> None:
    moment = read_time({"t": text}, "t")

    assert (moment.year if moment else None) == year


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (None, None),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        ("0", 0),
        (str(2**63 - 1), 2**63 - 1),
        ("17".zfill(20), 17),
    ],
)
def test_an_integer_has_64_bits_and_may_be_a_string(value: object, number: int | None) -> None:
    assert read_integer({"n": value}, "n") == number


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, str(2**63), "17".zfill(21), "", "-1", "1.0", 1.0, True, False]
)
def test_any_other_value_is_not_an_integer(value: object) -> None:
    with pytest.raises(BadFieldError) as caught:
        read_integer({"n": value}, "n")

    assert (caught.value.reason, caught.value.field) == (RejectionReason.WRONG_TYPE, "n")


@pytest.mark.parametrize("value", ["Red", "red", "RED"])
def test_an_enum_value_is_read_in_any_case(value: str) -> None:
    noted: list[UnknownValue] = []

    assert EnumReader(Colour, Colour.UNKNOWN).read({"c": value}, "c", noted) is Colour.RED
    assert noted == []


@pytest.mark.parametrize("value", ["Blue", "Unknown", "unknown"])
def test_any_other_value_of_an_enum_is_unknown_and_noted(value: str) -> None:
    noted: list[UnknownValue] = []

    assert EnumReader(Colour, Colour.UNKNOWN).read({"c": value}, "c", noted) is Colour.UNKNOWN
    assert noted == [UnknownValue(field="c", value=value)]
