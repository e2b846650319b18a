"""Table entries and sentences from finished runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.report.entries import Entry
from relope_jax.metrics.intervals import Units, auc_interval, few_warning, two_sided_p
from relope_jax.metrics.paired import SIGNIFICANT, holm
from relope_jax.run import Run


def auc_entry(run: Run, method: str, paper: float | None = None, mark: str = "") -> Entry:
    """A method's mean AUC over its seeds with its interval."""
    found = run.summary["methods"][method]
    return Entry(found["auc"], found["auc_low"], found["auc_high"], paper, mark)


class Measured(NamedTuple):
    """An AUC, or a mean of AUCs on different questions, with its standard error and its units."""

    auc: float
    error: float
    units: Units

    def entry(self, paper: float | None = None) -> Entry:
        """The table entry with its 95% interval."""
        return Entry(self.auc, *self.interval(), paper)

    def interval(self) -> tuple[float, float]:
        """The 95% interval."""
        low, high = auc_interval(np.array(self.auc), np.array(self.error**2), self.units)
        return float(low), float(high)


def mean_auc(runs: Sequence[Run], method: str) -> Measured:
    """A method's mean AUC over datasets, whose questions are independent. Its interval uses the units of the dataset
    with the fewest answers of one class."""
    rows = [run.summary["methods"][method] for run in runs]
    value = sum(row["auc"] for row in rows) / len(rows)
    error = math.sqrt(sum(row["auc_error"] ** 2 for row in rows)) / len(rows)
    return Measured(value, error, min((units_of(run) for run in runs), key=lambda units: units.rarer))


def units_of(run: Run) -> Units:
    """The independent units of a run's test split."""
    return Units(**run.summary["units"])


def marks(run: Run, methods: Sequence[str]) -> dict[str, str]:
    """ "b" for the best AUC, "=" for those not significantly different from it (Holm-corrected, 5%)."""
    auc = {method: run.summary["methods"][method]["auc"] for method in methods}
    best = max(auc, key=auc.__getitem__)
    tests = [found for found in run.summary["differences"] if not found.is_significant]
    same = {name for found in tests if best in (found.first, found.second) for name in (found.first, found.second)}
    return {method: "b" if method == best else "=" if method in same else "" for method in methods}


def base_rates(runs: Sequence[Run], titles: Sequence[str]) -> str:
    """A sentence on the small model's accuracy on each column's test questions, with warnings about few units."""
    parts = []
    for run, title in zip(runs, titles, strict=True):
        row = run.results[0]
        parts.append(f"{title} {row['base_rate']:.0%} of {row['n_test']}")
    few = [f"{title}: {text}" for run, title in zip(runs, titles, strict=True) if (text := few_warning(units_of(run)))]
    return " ".join([f"Small model right: {', '.join(parts)} test questions.", *few])


class Comparison(NamedTuple):
    """Two AUCs on different questions, each with a name and a row of summary.json."""

    first: str
    one: dict[str, Any]
    second: str
    other: dict[str, Any]


def sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence per comparison, with its Holm-corrected p-value."""
    differences = [found.one["auc"] - found.other["auc"] for found in comparisons]
    errors = [math.hypot(found.one["auc_error"], found.other["auc_error"]) for found in comparisons]
    texts = []
    for found, difference, p in zip(comparisons, differences, corrected(differences, errors), strict=True):
        verdict = "a significant difference" if p < SIGNIFICANT else "no significant difference"
        texts.append(
            f"{found.first}: AUC {found.one['auc']:.3f}; {found.second}: {found.other['auc']:.3f} "
            f"({difference:+.3f}, Holm-corrected p = {p:.2g}: {verdict})."
        )
    return texts


def corrected(values: Sequence[float], errors: Sequence[float]) -> list[float]:
    """Two-sided p-values of "this value is 0", Holm-corrected for all of them."""
    return holm(np.array([two_sided_p(*pair) for pair in zip(values, errors, strict=True)])).tolist()
