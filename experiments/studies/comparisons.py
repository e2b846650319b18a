"""Which method is better over several datasets: paired differences averaged, tested, and corrected for their number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.studies import paper
from experiments.studies.rows import SIGNIFICANT, corrected
from relope_jax.methods import METHODS
from relope_jax.metrics.intervals import Z_95
from relope_jax.run import Run


def mean_difference(runs: Sequence[Run], first: str, second: str) -> tuple[float, float]:
    """Mean over datasets of the paired difference in AUC, and its standard error."""
    values, errors = [], []
    for run in runs:
        sign, found = _difference(run, first, second)
        values.append(sign * found["difference"])
        errors.append((found["high"] - found["low"]) / (2 * Z_95))  # intervals of differences are symmetric
    return float(np.mean(values)), math.sqrt(sum(e * e for e in errors)) / len(runs)


def _difference(run: Run, first: str, second: str) -> tuple[int, dict]:
    for found in run.summary["differences"]:
        if (found["first"], found["second"]) == (first, second):
            return 1, found
        if (found["first"], found["second"]) == (second, first):
            return -1, found
    raise KeyError(f"{run.path} compares no {first} with {second}")


class Pair(NamedTuple):
    """Two methods, the first one's lead in mean AUC, its standard error, and its p-value corrected for all pairs."""

    first: str
    second: str
    lead: float
    error: float
    p: float

    def flipped(self) -> Pair:
        return Pair(self.second, self.first, -self.lead, self.error, self.p)

    @property
    def is_better(self) -> bool:
        return self.lead > 0 and self.p < SIGNIFICANT

    def __str__(self) -> str:
        low, high = self.lead - Z_95 * self.error, self.lead + Z_95 * self.error
        return f"{METHODS[self.second].title} ({self.lead:+.3f} [{low:+.3f}, {high:+.3f}], p = {self.p:.2g})"


def all_pairs(runs: Sequence[Run], methods: Sequence[str]) -> dict[tuple[str, str], Pair]:
    """Every two methods in both orders; Holm's correction counts each pair once."""
    names = list(itertools.combinations(methods, 2))
    found = [mean_difference(runs, *pair) for pair in names]
    p_values = corrected(*zip(*found, strict=True)) if found else []
    pairs = [Pair(*pair, *values, p) for pair, values, p in zip(names, found, p_values, strict=True)]
    return {(pair.first, pair.second): pair for one in pairs for pair in (one, one.flipped())}


def compare_means(runs: Sequence[Run], methods: Sequence[str], where: str) -> list[str]:
    """Sentences: the best mean AUC against all others, and the paper's claim; only what is left by Holm's correction
    over all pairs (the best one is picked by the same numbers) is called better."""
    mean = {name: float(np.mean([run.summary["methods"][name]["auc"] for run in runs])) for name in methods}
    best = max(mean, key=mean.__getitem__)
    pairs = all_pairs(runs, methods)
    others = [pairs[best, name] for name in sorted(mean, key=mean.__getitem__, reverse=True) if name != best]
    sentences = [f"{where}: the highest mean AUC has {METHODS[best].title} ({mean[best]:.3f})."]
    if better := [str(pair) for pair in others if pair.is_better]:
        sentences.append(f"It is better than {', '.join(better)}.")
    if same := [str(pair) for pair in others if not pair.is_better]:
        sentences.append(f"Not significantly different from it: {', '.join(same)}.")
    first, lesser = paper.CLAIM
    sentences += [_claim(pairs[first, second]) for second in lesser if (first, second) in pairs]
    if pairs:
        sentences.append(f"p: two-sided, of the mean paired difference, Holm-corrected for {len(pairs) // 2} pairs.")
    return sentences


def _claim(pair: Pair) -> str:
    """Whether a lead that the paper reports is found here."""
    found = "found" if pair.is_better else "the opposite is found" if pair.flipped().is_better else "not found"
    return f"The paper's claim that {METHODS[pair.first].title} is better than {pair}: {found} here."
