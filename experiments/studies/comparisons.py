"""Compares methods over several datasets: tests of mean paired differences, corrected for multiple comparisons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from experiments.studies import paper
from relope_jax.methods import METHODS
from relope_jax.metrics.intervals import Z_95
from relope_jax.metrics.paired import PairedDifference, adjusted, normal_difference
from relope_jax.run import Run


def mean_difference(runs: Sequence[Run], first: str, second: str) -> PairedDifference:
    """Mean paired difference in AUC over datasets, whose questions are independent."""
    found = [_difference(run, first, second) for run in runs]
    errors = [(each.high - each.low) / (2 * Z_95) for each in found]  # intervals of differences are symmetric
    value = float(np.mean([each.difference for each in found]))
    return normal_difference(first, second, value, math.sqrt(sum(e * e for e in errors)) / len(runs))


def _difference(run: Run, first: str, second: str) -> PairedDifference:
    for found in run.summary["differences"]:
        for either in (found, found.flipped()):
            if (either.first, either.second) == (first, second):
                return either
    raise KeyError(f"{run.path} does not compare {first} with {second}")


def all_pairs(runs: Sequence[Run], methods: Sequence[str]) -> dict[tuple[str, str], PairedDifference]:
    """All pairs of methods in both orders; Holm's correction counts each pair once."""
    pairs = adjusted([mean_difference(runs, *pair) for pair in itertools.combinations(methods, 2)])
    return {(pair.first, pair.second): pair for one in pairs for pair in (one, one.flipped())}


def compare_means(runs: Sequence[Run], methods: Sequence[str], where: str) -> list[str]:
    """Sentences: the best mean AUC against all others, and the paper's claim. "Better" means significant after Holm's
    correction over all pairs, because the best method is chosen from the same numbers."""
    mean = {name: float(np.mean([run.summary["methods"][name]["auc"] for run in runs])) for name in methods}
    best = max(mean, key=mean.__getitem__)
    pairs = all_pairs(runs, methods)
    others = [pairs[best, name] for name in sorted(mean, key=mean.__getitem__, reverse=True) if name != best]
    sentences = [f"{where}: {METHODS[best].title} has the highest mean AUC ({mean[best]:.3f})."]
    if better := [_lead(pair) for pair in others if pair.is_better]:
        sentences.append(f"It is better than {', '.join(better)}.")
    if same := [_lead(pair) for pair in others if not pair.is_better]:
        sentences.append(f"Not significantly different from it: {', '.join(same)}.")
    first, lesser = paper.CLAIM
    sentences += [_claim(pairs[first, second]) for second in lesser if (first, second) in pairs]
    if pairs:
        sentences.append(f"p: two-sided, for the mean paired difference, Holm-corrected for {len(pairs) // 2} pairs.")
    return sentences


def _lead(pair: PairedDifference) -> str:
    """The lead of the first method over the second."""
    interval = f"[{pair.low:+.3f}, {pair.high:+.3f}]"
    return f"{METHODS[pair.second].title} ({pair.difference:+.3f} {interval}, p = {pair.p_holm:.2g})"


def _claim(pair: PairedDifference) -> str:
    """A sentence on whether a claim of the paper is confirmed here."""
    found = "confirmed" if pair.is_better else "contradicted" if pair.flipped().is_better else "not confirmed"
    return f"The paper's claim that {METHODS[pair.first].title} is better than {_lead(pair)}: {found} here."
