from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.labels import escaped, label_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Contoso, Ltd", "Contoso, Ltd"),
        ("\ud800lone\udfff", "\ufffdlone\ufffd"),
        ("\x00\x1b[31m\t\x7f\x85", "\ufffd\ufffd[31m\ufffd\ufffd\ufffd"),
        ("two\nlines", "two\nlines"),
        ("Ünïcødé \U0001f600", "Ünïcødé \U0001f600"),
        ("x" * 600, "x" * 512),
    ],
)
def test_what_is_unfit_is_replaced_and_what_is_too_long_is_cut(text: str, expected: str) -> None:
    assert expected == label_value(text)


@given(st.text(st.characters()))
def test_any_text_becomes_one_line_that_can_be_encoded(text: str) -> None:
    line = escaped(text)

    assert "\n" not in line
    assert line == line.encode().decode()
    assert '"' not in line.replace("\\\\", "").replace('\\"', "")
