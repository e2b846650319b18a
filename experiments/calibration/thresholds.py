"""A router's threshold for a goal: chosen on the validation split of a finished run and checked on its test split."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experiments.calibration.words import CalibrationRequest, ChosenThreshold, refusal
from experiments.runs.sample_table import read_tokens, uncounted
from relope_jax.errors import ReLopeError
from relope_jax.io.inside import shown_name
from relope_jax.methods import TrainedMethod, get_method
from relope_jax.metrics.routing.cost import CostSpec, QueryCosts, Reading, query_costs
from relope_jax.metrics.routing.thresholds import (
    Goal,
    GoalTest,
    Queries,
    choose,
    choose_from,
    deferring_more,
    kept_accuracy,
    kept_share,
    saving,
    starts_of,
    system_accuracy,
)
from relope_jax.run import Run


def calibrate(run: Run, request: CalibrationRequest, splits: dict[str, Queries]) -> ChosenThreshold:
    """The threshold that defers least (for an accuracy) or most (for a budget or a share) and satisfies the goal.

    Raises:
      ReLopeError: the goal cannot be reached, or these few labels cannot show that it is reached.
    """
    validation = splits["validation"]
    among = chosen_among(run, request.method)
    used = [splits["train"], validation]
    largest = max(int(np.unique(queries.groups, return_counts=True)[1].max()) for queries in used)
    goal = goal_of(request, used)
    test = GoalTest(goal, validation, largest, (1 - request.confidence) / among)
    if request.target_accuracy is None:
        starts, threshold = [-np.inf], choose(test, deferring_more(validation.scores))
    else:
        starts = starts_of(splits["train"], validation.large is not None, request.target_accuracy)
        threshold = choose_from(test, starts)
        test = dataclasses.replace(test, level=test.level / len(starts))  # per start
    if threshold is None or (request.deferral is not None and math.isinf(threshold)):  # deferring none is not routing
        raise ReLopeError(refusal(request, test, starts))
    dearest = None if request.budget is None else dearest_of(used)
    return ChosenThreshold(goal, threshold, validation, splits["test"], test.level, among, largest, dearest)


def goal_of(request: CalibrationRequest, used: list[Queries]) -> Goal:
    """The goal as a ratio that must be exceeded."""
    if request.target_accuracy is not None:
        return (kept_accuracy if used[-1].large is None else system_accuracy)(request.target_accuracy)
    if request.deferral is not None:
        return kept_share(1 - request.deferral)
    assert request.budget is not None
    dearest = dearest_of(used)
    if dearest == 0:
        raise ReLopeError("every query is free at these prices, so any budget holds: set prices with --price_...")
    return saving(request.budget / 1000, dearest)


def dearest_of(used: list[Queries]) -> float:
    """Dollars of the most expensive query, kept or deferred, among those with a known cost."""
    costs = [queries.costs for queries in used if queries.costs]
    return max(float(max(cost.keep.max(), cost.defer.max())) for cost in costs)


def chosen_among(run: Run, method: str) -> int:
    """The number of routers from which the validation split chose this one. They share the level."""
    router = get_method(method)
    return int(run.config["train"]["epochs"]) if isinstance(router, TrainedMethod) else router.chosen_among


def splits_of(run: Run, request: CalibrationRequest, prices: CostSpec, reading: Reading) -> dict[str, Queries]:
    """The run's queries with the scores of one method and seed, by split.

    Raises:
      ReLopeError: the run has no such scores, or lacks data that the goal needs.
    """
    samples, scores = run.samples, scores_of(run, request.method, request.seed)
    names = samples["sample_id"].to_pylist()
    if missing := next((name for name in names if name not in scores), None):
        raise ReLopeError(f"{run.path} has no score of {request.method} for the sample {shown_name(missing)}")
    table = samples.append_column("score", pa.array([scores[name] for name in names]))
    splits = {}
    for name in ("train", "validation", "test"):
        rows = table.filter(pc.equal(table["split"], name))
        if not len(rows) or (name != "train" and np.isnan(rows["score"].to_numpy()).any()):
            raise ReLopeError(f"{run.path} has no {name} questions, or not all their scores of {request.method}")
        splits[name] = Queries(
            rows["score"].to_numpy(),
            rows["label"].to_numpy().astype(np.int64),
            np.array(rows["group"].to_pylist()),
            large_labels(rows, name, request),
            costs_of(rows, prices, reading),
        )
    unknown = uncounted(samples.filter(pc.equal(samples["split"], "validation")), reading.kind)
    if request.budget is not None and unknown:
        raise ReLopeError(f"{run.path} does not know all token counts that a budget needs ({', '.join(unknown)})")
    return splits


def scores_of(run: Run, method: str, seed: int) -> dict[str, float]:
    """Scores of one method and seed by sample."""
    present = sorted({(row["method"], row["seed"]) for row in run.results})
    if (method, seed) not in present:
        have = ", ".join(f"{name} {number}" for name, number in present)
        raise ReLopeError(f"{run.path} has no scores of {method} with seed {seed}; it has {have}")
    table = run.scores
    mine = table.filter(pc.and_(pc.equal(table["method"], method), pc.equal(table["seed"], seed)))
    return dict(zip(mine["sample_id"].to_pylist(), mine["score"].to_pylist(), strict=True))


def large_labels(rows: pa.Table, split: str, request: CalibrationRequest) -> np.ndarray | None:
    """Whether the large model is right, if this is known for the split."""
    unknown = rows["large_label"].null_count
    if unknown == 0:
        return rows["large_label"].to_numpy().astype(np.int64)
    if split == "validation" and unknown < len(rows) and request.target_accuracy is not None:
        raise ReLopeError(
            f"the large model's answers to {unknown} of {len(rows)} validation questions are unknown: answer all of "
            "them with `python -m extract.answer`"
        )
    return None


def costs_of(rows: pa.Table, prices: CostSpec, reading: Reading) -> QueryCosts | None:
    """The cost of every query, if all of its tokens were counted."""
    tokens = read_tokens(rows)
    return query_costs(prices, tokens, reading) if tokens and not tokens.uncounted(reading.kind) else None
