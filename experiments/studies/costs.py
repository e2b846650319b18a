"""Accuracy over cost of a run's routers: AIQ and QNC, over one range of costs for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.studies.scored import test_scores
from relope_jax.errors import ReLopeError
from relope_jax.methods import METHODS
from relope_jax.metrics.cost import CostSpec, Reading, Tokens, cost_curve, model_costs, query_costs
from relope_jax.metrics.frontier import aiq, qnc
from relope_jax.metrics.routing import deferral_curve
from relope_jax.run import Run

COUNTED = {
    "prompt": "prompt_tokens", "answer": "answer_tokens", "large_prompt": "large_prompt_tokens",
    "large_answer": "large_answer_tokens",
}  # fmt: skip


def frontier(run: Run, methods: Sequence[str], spec: CostSpec) -> dict[str, dict[str, float]]:
    """`{method: {"aiq": ..., "qnc": ...}}` on the test split, means over seeds; QNC is NaN where it is never reached.

    Raises:
      ReLopeError: the tokens of an answer were not counted.
    """
    tokens = count_tokens(run)
    curves = [curve(run, method, tokens, spec) for method in methods]
    cost, accuracy = (np.concatenate(parts) for parts in zip(*curves, strict=True))
    found = test_scores(run, methods[0])
    small, large = model_costs(spec, tokens)
    models = np.array([[small.mean(), found.labels.mean()], [large.mean(), found.large.mean()]])
    quality, normalised = aiq(cost, accuracy), qnc(cost, accuracy, models)
    normalised = np.where(np.isfinite(normalised), normalised, np.nan)
    owner = np.repeat(np.arange(len(methods)), [len(part) for part, _ in curves])
    return {
        method: {"aiq": float(quality[owner == i].mean()), "qnc": float(normalised[owner == i].mean())}
        for i, method in enumerate(methods)
    }


def curve(run: Run, method: str, tokens: Tokens, spec: CostSpec) -> tuple[np.ndarray, np.ndarray]:
    """Dollars a query, and accuracy, at every share deferred, `[seeds, n+1]` each."""
    found = test_scores(run, method)
    costs = query_costs(spec, tokens, Reading(METHODS[method].reads))
    return cost_curve(found.scores, costs), deferral_curve(found.scores, found.labels, found.large)


def count_tokens(run: Run) -> Tokens:
    """Token counts of the test prompts, in the order of the scores."""
    rows = {row["sample_id"]: row for row in run.samples.to_pylist()}
    ordered = [rows[sample_id] for sample_id in test_scores(run, "random").sample_ids]
    columns = {name: [row[column] for row in ordered] for name, column in COUNTED.items()}
    if missing := [COUNTED[name] for name, values in columns.items() if None in values]:
        raise ReLopeError(f"{run.path} has prompts without {', '.join(missing)}: no cost can be told")
    sampled = [row["sampled_tokens"] for row in ordered]
    return Tokens(
        **{name: np.array(values) for name, values in columns.items()},
        sampled=None if None in sampled else np.array(sampled),
    )
