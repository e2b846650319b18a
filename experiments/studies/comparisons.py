"""Which method is better over several datasets: paired differences averaged, tested, and corrected for their number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from experiments.studies.rows import SIGNIFICANT, corrected, standard_error
from relope_jax.methods import METHODS
from relope_jax.metrics.auc import Z_95
from relope_jax.run import Run


def mean_difference(runs: Sequence[Run], first: str, second: str) -> tuple[float, float]:
    """Mean over datasets of the paired difference in AUC, and its standard error."""
    values, errors = [], []
    for run in runs:
        sign, found = _difference(run, first, second)
        values.append(sign * found["difference"])
        errors.append(standard_error(found, "difference", "low", "high"))
    return float(np.mean(values)), math.sqrt(sum(e * e for e in errors)) / len(runs)


def _difference(run: Run, first: str, second: str) -> tuple[int, dict]:
    for found in run.summary["differences"]:
        if (found["first"], found["second"]) == (first, second):
            return 1, found
        if (found["first"], found["second"]) == (second, first):
            return -1, found
    raise KeyError(f"{run.path} compares no {first} with {second}")


def compare_means(runs: Sequence[Run], methods: Sequence[str], where: str) -> list[str]:
    """One sentence a method against the best one of the mean; only what Holm's correction leaves is called better.

    The best one is picked by the same numbers, so the correction counts all pairs, not only those with it.
    """
    mean = {name: float(np.mean([run.summary["methods"][name]["auc"] for run in runs])) for name in methods}
    best = max(mean, key=mean.__getitem__)
    pairs = [(best, name) for name in methods if name != best]
    pairs += [pair for pair in itertools.combinations(methods, 2) if best not in pair]
    found = [mean_difference(runs, *pair) for pair in pairs]
    told = list(zip(pairs, found, corrected(*zip(*found, strict=True)), strict=True))[: len(methods) - 1]
    sentences = [f"{where}: the highest mean AUC has {METHODS[best].title} ({mean[best]:.3f})."]
    for (_, name), (value, error), p in told:
        verdict = "better than" if p < SIGNIFICANT else "not significantly different from"
        sentences.append(
            f"{METHODS[best].title} is {verdict} {METHODS[name].title}: {value:+.3f} "
            f"[{value - Z_95 * error:+.3f}, {value + Z_95 * error:+.3f}], Holm-corrected p = {p:.2g}."
        )
    return sentences
