"""Scores of a run's test split beside everything that they are measured against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from relope_jax.run import Run


class Scored(NamedTuple):
    """Test prompts: a method's scores `[seeds, n]`, and `[n]` labels of both models (-1 unknown), groups and ids."""

    scores: np.ndarray
    labels: np.ndarray
    large: np.ndarray
    groups: np.ndarray
    sample_ids: list[str]


def test_scores(run: Run, method: str) -> Scored:
    """What `method` says of the run's test prompts."""
    table = run.scores.filter((pc.field("method") == method) & (pc.field("split") == "test"))
    seeds = table["seed"].to_numpy()
    each = [table.filter(pc.field("seed") == seed) for seed in dict.fromkeys(seeds)]
    ids = each[0]["sample_id"].to_pylist()
    known = {row["sample_id"]: row for row in run.samples.to_pylist()}
    large = [known[name]["large_label"] for name in ids]
    return Scored(
        np.stack([part["score"].to_numpy() for part in each]),
        np.array([known[name]["label"] for name in ids]),
        np.array([-1 if label is None else label for label in large]),
        np.array([known[name]["group"] for name in ids]),
        ids,
    )
