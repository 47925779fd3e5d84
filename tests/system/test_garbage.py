from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from exporter.system.garbage import raise_gc_threshold


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_garbage_is_looked_for_but_not_within_a_page_of_sessions() -> None:
    raise_gc_threshold()

    # A page of a thousand sessions is about 8,000 objects that can be garbage.
    assert gc.get_threshold()[0] > 8_000
    assert gc.isenabled()
