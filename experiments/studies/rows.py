"""Table entries and sentences from finished runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from experiments.entries import Entry
from relope_jax.metrics.auc import Z_95
from relope_jax.run import Run

SIGNIFICANT = 0.05


def auc_entry(run: Run, method: str, paper: float | None = None, mark: str = "") -> Entry:
    """A method's mean AUC over its seeds with its interval."""
    found = run.summary["methods"][method]
    return Entry(found["auc"], found["auc_low"], found["auc_high"], paper, mark)


def standard_error(found: dict[str, Any], low: str = "auc_low", high: str = "auc_high") -> float:
    """Of a value whose 95 % interval is known."""
    return (found[high] - found[low]) / (2 * Z_95)


def mean_entry(entries: Sequence[Entry], paper: float | None = None) -> Entry:
    """The mean over datasets, whose questions are independent of each other."""
    errors = [(entry.high - entry.low) / (2 * Z_95) for entry in entries]
    error = math.sqrt(sum(e * e for e in errors)) / len(entries)
    value = sum(entry.value for entry in entries) / len(entries)
    return Entry(value, value - Z_95 * error, value + Z_95 * error, paper)


def marks(run: Run, methods: Sequence[str]) -> dict[str, str]:
    """ "b" for the best AUC, "=" for those that no test tells apart from it (Holm-corrected, 5 %)."""
    auc = {method: run.summary["methods"][method]["auc"] for method in methods}
    best = max(auc, key=auc.__getitem__)
    apart = {frozenset((d["first"], d["second"])): d["p_holm"] for d in run.summary["differences"]}
    same = {method for method in methods if apart.get(frozenset((best, method)), 1.0) >= SIGNIFICANT}
    return {method: "b" if method == best else "=" if method in same else "" for method in methods}


def base_rates(runs: Sequence[Run], titles: Sequence[str]) -> str:
    """How often the small model is right on each column's test questions."""
    parts = []
    for run, title in zip(runs, titles, strict=True):
        row = run.results[0]
        parts.append(f"{title} {row['base_rate']:.0%} of {row['n_test']}")
    return f"Small model right: {', '.join(parts)} test questions."


def sentence(first: str, one: dict[str, Any], second: str, other: dict[str, Any]) -> str:
    """Two AUCs on different questions, and whether their difference is more than sampling."""
    difference = one["auc"] - other["auc"]
    error = math.hypot(standard_error(one), standard_error(other))
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error else 1.0
    verdict = "a significant difference" if p < SIGNIFICANT else "no significant difference"
    return f"{first}: AUC {one['auc']:.3f}; {second}: {other['auc']:.3f} ({difference:+.3f}, p = {p:.2g}: {verdict})."
