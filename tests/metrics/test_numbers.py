from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.metrics.numbers import go_float


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
def test_a_number_is_spelt_as_the_client_library_spells_it(value: float) -> None:
    assert floatToGoString(value) == go_float(value)  # type: ignore[no-untyped-call] # the library does not type it


@pytest.mark.parametrize(
    ("value", "spelt"),
    [
        (1, "1.0"),
        (1_772_366_400.25, "1.77236640025e+09"),
        (2_000_000_000, "2e+09"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_spelt_as_go_spells_them(value: float, spelt: str) -> None:
    assert spelt == go_float(value)
