from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from web.support import NOON

from exporter.vb365.errors import Reason
from exporter.vb365.records.restore_session import SessionType
from exporter.web.status.formatting import (
    clock_time,
    counted,
    cut,
    failure_reason,
    in_sentence,
    info_label,
    listed,
    product_name,
    unbroken,
)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON - timedelta(minutes=12), "11:48:00"),
        (NOON - timedelta(hours=13), "23 Nov 23:00"),
        (NOON + timedelta(days=1), "25 Nov 12:00"),
        (NOON - timedelta(days=400), "20 Oct 2025"),
        (datetime(2, 1, 3, tzinfo=UTC), "3 Jan 2"),
    ],
)
def test_a_time_has_a_date_only_when_it_is_not_today(moment: datetime, text: str) -> None:
    assert clock_time(moment, NOON) == text


def test_numbers_of_things_agree_with_their_nouns() -> None:
    assert [counted(count, "session") for count in (0, 1, 12_345)] == [
        "0 sessions",
        "1 session",
        "12,345 sessions",
    ]


def test_long_lists_of_names_are_shortened() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_long_texts_are_truncated() -> None:
    assert (cut("abcde", 5), cut("abcdef", 5)) == ("abcde", "abcd…")


def test_a_name_in_a_sentence_has_no_direction_marks_and_is_truncated() -> None:
    assert in_sentence("ev\u202eil\u2066") == "evil"
    assert len(in_sentence("x" * 500)) == 64


def test_every_reason_has_words_of_its_own() -> None:
    words = {failure_reason(reason) for reason in Reason}
    assert len(words - {failure_reason("a reason of tomorrow")}) == len(Reason)
    assert failure_reason(None) == failure_reason("a reason of tomorrow")


def test_every_type_is_shown_as_its_product() -> None:
    assert [product_name(one) for one in SessionType] == [
        "Exchange",
        "OneDrive",
        "SharePoint",
        "Teams",
        "Unknown",
    ]


def test_fields_of_a_session_become_headings() -> None:
    assert info_label("initiated_by") == "Initiated by"


def test_names_and_durations_in_a_sentence_stay_on_one_line() -> None:
    assert unbroken("hq-east, open for 2 d 3 h, for 4 min 5 s in 3 days") == (
        "hq\u2011east, open for 2\u00a0d\u00a03\u00a0h, for 4\u00a0min\u00a05\u00a0s in 3 days"
    )
