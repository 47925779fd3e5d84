from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.timespans import human_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59.99, "59 s"),
        (60, "1 min"),
        (245, "4 min 5 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (3_605, "1 h"),
        (183_600, "2 d 3 h"),
        (86_400 * 400, "400 d"),
        (-5, "0 s"),
        (None, "unknown"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_durations_are_written_by_their_two_largest_units(seconds: float | None, text: str) -> None:
    assert human_duration(seconds) == text


@given(st.floats())
def test_every_number_has_a_duration(seconds: float) -> None:
    assert human_duration(seconds)
