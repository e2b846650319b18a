"""The tables of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.report.entries import BEST, Entry, Table
from experiments.report.summary_text import Summary, best_router, differences_of, routers
from experiments.runs.tested import RoutedSplit, priced
from relope_jax.methods import BLIND, METHODS
from relope_jax.metrics.paired import SIGNIFICANT

NEEDS_LARGE = (("APGR", "apgr"), ("CPT(50%)", "cpt_50"), ("CPT(80%)", "cpt_80"), ("AUDC", "audc"))
PRICED = (("AIQ", "aiq"), ("QNC", "qnc"))
ALWAYS = (
    ("PRR", "prr"),
    ("ECE", "ece"),
    ("Brier", "brier"),
    ("accuracy", "accuracy"),
    ("caught @10%", "caught_10"),
    ("@20%", "caught_20"),
    ("@30%", "caught_30"),
)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
STAR = "*"


def main_table(summary: Summary, split: RoutedSplit) -> Table:
    """All methods and sanity rows with all metrics; empty columns are left out."""
    prices = priced(split, list(summary["methods"]))
    rows = {name: row | prices[name] for name, row in summary["methods"].items()}
    columns = [
        (name, field)
        for name, field in (*((*NEEDS_LARGE, *PRICED) if split.large is not None else ()), *ALWAYS)
        if split.large is not None or any(row[field] is not None for row in rows.values())
    ]
    stars, best = better_than_blind(summary), best_router(summary)
    body = [
        (METHODS[name].title, _entries(rows[name], columns, (BEST if name == best else "") + stars.get(name, "")))
        for name in ordered(summary)
    ]
    notes = [f"{STAR} AUC significantly above the question-only router's (paired test, Holm-corrected)."] * bool(stars)
    return Table(
        name="metrics",
        title="How well each router detects wrong answers",
        columns=("AUC", "seed range", *(name for name, _ in columns)),
        rows=(*body, *_constant_rows(columns, split)),
        notes=tuple(notes),
        breaks=(len(routers(summary)),),
    )


def ordered(summary: Summary) -> list[str]:
    """The routers, then the sanity rows."""
    return [*routers(summary), *(name for name in summary["methods"] if name not in routers(summary))]


def better_than_blind(summary: Summary) -> dict[str, str]:
    """The methods that are significantly better than the question-only router in paired tests."""
    return {d.first: STAR for d in differences_of(summary) if d.second == BLIND and d.is_better}


def _entries(row: dict[str, Any], columns: Sequence[tuple[str, str]], mark: str) -> tuple[Entry, ...]:
    spread = row["auc_seed_range"] if row["n_seeds"] > 1 else None
    auc = Entry(row["auc"], row["auc_low"], row["auc_high"], mark=mark)
    return (auc, Entry(spread), *(Entry(row[field]) for _, field in columns))


def _constant_rows(columns: Sequence[tuple[str, str]], split: RoutedSplit) -> list[tuple[str, tuple[Entry, ...]]]:
    """The rows of the constants: trust every answer, or none. They have an accuracy, but their scores rank nothing."""
    rows = []
    for name, accuracy in (("Always small", split.labels.mean()), ("Always large", 1 - split.labels.mean())):
        known = {"accuracy": float(accuracy)}
        rows.append((name, (Entry(0.5), Entry(None), *(Entry(known.get(field)) for _, field in columns))))
    return rows


def routed_table(summary: Summary, split: RoutedSplit) -> Table:
    """System accuracy at some shares routed; needs the large model's answers."""
    body = []
    for name in ordered(summary):
        curve = split.deferral(name).mean(axis=0)
        body.append((METHODS[name].title, tuple(Entry(float(curve[round(s * (len(curve) - 1))])) for s in SHARES)))
    ends = (("Always small", split.labels), ("Always large", split.known_large))
    body += [(name, (Entry(float(np.mean(labels))),) * len(SHARES)) for name, labels in ends]
    return Table(
        name="routed",
        title="System accuracy by share of queries sent to the large model",
        columns=tuple(f"{share:.0%}" for share in SHARES),
        rows=tuple(body),
        notes=("Oracle: knows both models' answers and first defers queries that only the large model gets right.",),
        breaks=(len(routers(summary)),),
    )


def difference_table(summary: Summary) -> Table:
    """All paired comparisons."""
    rows = []
    for d in differences_of(summary):
        names = f"{METHODS[d.first].title} - {METHODS[d.second].title}"
        difference = Entry(d.difference, d.low, d.high, mark=STAR if d.is_significant else "")
        rows.append((names, (difference, Entry(d.p), Entry(d.p_holm))))
    return Table(
        name="differences",
        title="Paired differences in AUC on the same test prompts (DeLong)",
        columns=("difference", "p", "p after Holm"),
        rows=tuple(rows),
        row_title="routers",
        notes=(f"{STAR} p < {SIGNIFICANT} after Holm's correction for all tests in this table. 0.000: below 0.0005.",),
    )


def run_tables(summary: Summary, split: RoutedSplit) -> list[Table]:
    """All tables of the report."""
    routed = [routed_table(summary, split)] if split.large is not None else []
    differences = [difference_table(summary)] if summary["differences"] else []
    return [main_table(summary, split), *routed, *differences]
