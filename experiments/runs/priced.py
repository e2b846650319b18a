"""AIQ and QNC of a run's routers: accuracy over cost, over one range of costs for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from experiments.runs.tested import RoutedSplit
from relope_jax.metrics.routing.cost import model_costs
from relope_jax.metrics.routing.frontier import aiq, qnc

UNKNOWN = {"aiq": math.nan, "qnc": math.nan}


def priced(split: RoutedSplit, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """`{method: {"aiq": ..., "qnc": ...}}` on the test split, means over seeds; NaN where tokens were not counted, and
    QNC where a router never gets as good as the better model."""
    costs = {method: split.cost(method) for method in methods}
    known = [method for method in methods if costs[method] is not None]
    if split.large is None or split.tokens is None or not known:
        return dict.fromkeys(methods, UNKNOWN)
    accuracy = {method: split.deferral(method) for method in known}
    owner = np.repeat(np.arange(len(known)), [len(accuracy[method]) for method in known])
    cost_rows = np.concatenate([costs[method] for method in known])
    accuracy_rows = np.concatenate([accuracy[method] for method in known])
    small, large = model_costs(split.costs, split.tokens)
    models = np.array([[small.mean(), split.labels.mean()], [large.mean(), split.large.mean()]])
    quality, normalised = aiq(cost_rows, accuracy_rows), qnc(cost_rows, accuracy_rows, models)
    normalised = np.where(np.isfinite(normalised), normalised, np.nan)
    found = {
        method: {"aiq": float(quality[owner == i].mean()), "qnc": float(normalised[owner == i].mean())}
        for i, method in enumerate(known)
    }
    return {method: found.get(method, UNKNOWN) for method in methods}
