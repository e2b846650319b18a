"""Table entries and sentences from finished runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.entries import Entry
from relope_jax.metrics.intervals import Z_95
from relope_jax.metrics.holm import holm
from relope_jax.run import Run

SIGNIFICANT = 0.05


def auc_entry(run: Run, method: str, paper: float | None = None, mark: str = "") -> Entry:
    """A method's mean AUC over its seeds with its interval."""
    found = run.summary["methods"][method]
    return Entry(found["auc"], found["auc_low"], found["auc_high"], paper, mark)


def standard_error(found: dict[str, Any], value: str = "auc", low: str = "auc_low", high: str = "auc_high") -> float:
    """Of a value whose 95 % interval is known; that of an AUC ends at 1, where its lower half tells more."""
    return max(found[high] - found[value], found[value] - found[low]) / Z_95


def entry_error(entry: Entry) -> float:
    """Standard error of an entry with an interval."""
    return max(entry.high - entry.value, entry.value - entry.low) / Z_95


def mean_entry(entries: Sequence[Entry], paper: float | None = None) -> Entry:
    """The mean over datasets, whose questions are independent of each other."""
    errors = [entry_error(entry) for entry in entries]
    error = math.sqrt(sum(e * e for e in errors)) / len(entries)
    value = sum(entry.value for entry in entries) / len(entries)
    return Entry(value, value - Z_95 * error, value + Z_95 * error, paper)


def marks(run: Run, methods: Sequence[str]) -> dict[str, str]:
    """ "b" for the best AUC, "=" for those that were tested against it and not told apart (Holm-corrected, 5 %)."""
    auc = {method: run.summary["methods"][method]["auc"] for method in methods}
    best = max(auc, key=auc.__getitem__)
    apart = {frozenset((d["first"], d["second"])): d["p_holm"] for d in run.summary["differences"]}
    same = {method for method in methods if apart.get(frozenset((best, method)), 0.0) >= SIGNIFICANT}
    return {method: "b" if method == best else "=" if method in same else "" for method in methods}


def base_rates(runs: Sequence[Run], titles: Sequence[str]) -> str:
    """How often the small model is right on each column's test questions."""
    parts = []
    for run, title in zip(runs, titles, strict=True):
        row = run.results[0]
        parts.append(f"{title} {row['base_rate']:.0%} of {row['n_test']}")
    return f"Small model right: {', '.join(parts)} test questions."


class Comparison(NamedTuple):
    """Two AUCs on different questions, each with its name and its row of summary.json."""

    first: str
    one: dict[str, Any]
    second: str
    other: dict[str, Any]


def sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """What every comparison found, and whether it is more than sampling (Holm-corrected for all of them)."""
    differences = [found.one["auc"] - found.other["auc"] for found in comparisons]
    errors = [math.hypot(standard_error(found.one), standard_error(found.other)) for found in comparisons]
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
    p = [math.erfc(abs(v) / e / math.sqrt(2)) if e else 1.0 for v, e in zip(values, errors, strict=True)]
    return holm(np.array(p)).tolist()
