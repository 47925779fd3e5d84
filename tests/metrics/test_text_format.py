from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.metrics.text_format import escaped, go_float


@given(
    st.floats()
    | st.integers(-(2**62), 2**62)
    | st.floats(1e9, 1e10)
    | st.integers(10**9, 10**10)
    | st.integers(10**15, 10**16).map(lambda microseconds: microseconds / 1e6)
)
@example(0)
@example(-0.0)
@example(1e6)
@example(999999.9999999999)
@example(1e9)
@example(math.nextafter(1e9, 0))
@example(1e10)
@example(math.nextafter(1e10, 0))
@example(1_772_366_400.000001)
def test_a_number_is_written_as_the_client_library_writes_it(value: float) -> None:
    assert go_float(value) == floatToGoString(value)  # type: ignore[no-untyped-call] # the library does not type it


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1.0"),
        (1_772_366_400.25, "1.77236640025e+09"),
        (2_000_000_000, "2e+09"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, expected: str) -> None:
    assert go_float(value) == expected


@given(st.text(st.characters()))
def test_any_text_becomes_one_line_that_can_be_encoded(text: str) -> None:
    line = escaped(text)

    assert "\n" not in line
    assert line.encode().decode() == line
    assert '"' not in line.replace("\\\\", "").replace('\\"', "")
