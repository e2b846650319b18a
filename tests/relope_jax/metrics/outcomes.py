"""Real outcomes of two models on MMLU, from ../shared/data next to the checkout."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import SHARED

FILE = SHARED / "data/mmlu_outcomes/mmlu_outcomes.parquet"

needs_outcomes = pytest.mark.skipif(not FILE.exists(), reason="the recorded outcomes of ../shared/data are not there")


def mmlu_outcomes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether Mixtral 8x7B and GPT-4 are right on every prompt, and the subjects."""
    table = pq.read_table(FILE)
    small, large = (table[name].to_numpy().astype(np.int64) for name in ("mixtral_8x7b_correct", "gpt4_1106_correct"))
    return small, large, np.array(table["subject"].to_pylist())
