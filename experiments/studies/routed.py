"""The gain of routing to the large model on a dataset, and its significance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.runs.tested import RoutedSplit
from relope_jax.methods import METHODS
from relope_jax.metrics.intervals import Z_95
from relope_jax.metrics.paired import PairedDifference, adjusted
from relope_jax.metrics.routing.bootstrap import bootstrap_routing
from relope_jax.metrics.summary import Estimate

RESAMPLES = 10_000  # p is at least 2 / 10,001, which is below 5% even after correction for a hundred tests
CHANCE = "chance"


def gap(split: RoutedSplit) -> Estimate:
    """The large model's lead in accuracy over the small one, paired by question; the interval is clustered by image."""
    gain = (split.known_large - split.labels).astype(np.float64)
    units = np.unique(split.units, return_inverse=True)[1]
    error = math.sqrt(np.sum(np.bincount(units, gain - gain.mean()) ** 2)) / len(gain)
    return Estimate(gain.mean(), gain.mean() - Z_95 * error, gain.mean() + Z_95 * error)


def has_gap(split: RoutedSplit) -> bool:
    """Whether the large model is significantly better; otherwise shares of the gap are not meaningful."""
    return gap(split).low > 0


def above_chance(split: RoutedSplit, methods: Sequence[str]) -> list[PairedDifference]:
    """Every router's AUDC minus that of random routing, paired by resample."""
    chance = np.zeros((1, len(split.labels)))  # all tied: the expectation over all orders
    scores = np.concatenate([chance, *(split.scores[method] for method in methods)])
    names = [CHANCE, *(method for method in methods for _ in split.scores[method])]
    found = bootstrap_routing(scores, split.labels, split.known_large, split.units, RESAMPLES)
    return [found.audc.difference(names, method, CHANCE) for method in methods]


def gains(splits: Mapping[str, RoutedSplit], methods: Sequence[str]) -> list[str]:
    """One text per dataset, with the large model's lead and the routers that beat random routing."""
    tests = [(dataset, found) for dataset, split in splits.items() for found in above_chance(split, methods)]
    better: dict[str, list[str]] = {dataset: [] for dataset in splits}
    for (dataset, _), found in zip(tests, adjusted([found for _, found in tests]), strict=True):
        if found.is_better:
            better[dataset].append(f"{METHODS[found.first].title} ({found.difference:+.3f})")
    sentences = [f"{_models(dataset, split)} {_better(better[dataset])}" for dataset, split in splits.items()]
    return [*sentences, f"AUDC: paired bootstrap over images, Holm-corrected for {len(tests)} tests."]


def _models(dataset: str, split: RoutedSplit) -> str:
    lead, small, large = gap(split), split.labels.mean(), split.known_large.mean()
    worth = "" if lead.low > 0 else ", so there is no significant gap for routing to recover"
    return (
        f"{dataset}: the small model is right on {small:.1%}, the large one on {large:.1%} "
        f"({lead.value:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]{worth})."
    )


def _better(names: Sequence[str]) -> str:
    if not names:
        return "No router has a significantly higher AUDC than random routing."
    return f"Significantly higher AUDC than random routing: {', '.join(names)}."
