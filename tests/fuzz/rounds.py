"""How many hostile inputs are generated: a short, fixed round in every test run, and a long one with `make fuzz`.

The environment variable FUZZ_SECONDS limits the long round of each test; the default is 120.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHORT, LONG = 25, 100_000
ROUNDS = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]


def repeated(attempt: Callable[[random.Random], None], examples: int) -> None:
    """Call `attempt` `examples` times, with choices that hypothesis generates and shrinks after a failure."""
    end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "120"))

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples == SHORT,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(st.integers(0, 2**64 - 1))
    def run(seed: int) -> None:
        if examples == SHORT or time.monotonic() < end:
            attempt(random.Random(seed))

    run()
