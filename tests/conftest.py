"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
# About ten minutes on two cores.
settings.register_profile("fuzz", settings.get_profile("untimed"), max_examples=10_000)
settings.load_profile("untimed")
