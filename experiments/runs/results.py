"""Scores of every method and seed, and the results computed from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from experiments.runs.rundir import RunFolder
from experiments.runs.sample_table import sample_table
from experiments.say import say
from relope_jax.baselines.inputs import Inputs
from relope_jax.data import RouterData
from relope_jax.machine.mesh import replicate
from relope_jax.methods import BLIND, METHODS, SANITY, Baseline, Method, TrainedMethod
from relope_jax.metrics.evaluate import Evaluation, evaluate
from relope_jax.metrics.paired import PairedDifference, adjusted
from relope_jax.metrics.summary import auc_difference, mean_auc, mean_auc_error
from relope_jax.states.view import ReadableStore
from relope_jax.training.checkpoints import load_ensemble
from relope_jax.training.feeds.feed import Feed, seen_by
from relope_jax.training.scoring import scores

LARGE_METRICS = ("apgr", "cpt_50", "cpt_80", "audc")  # None unless the large model's answers are known


class Scored:
    """Scores of one method and seed on all samples."""

    def __init__(self, method: str, seed: int, scores: np.ndarray, **extra: Any):
        self.method, self.seed, self.scores, self.extra = method, seed, scores, extra


def evaluate_run(
    writer: RunFolder,
    data: RouterData,
    feed: Feed,
    inputs: Inputs,
    methods: Sequence[Method],
    seeds: tuple[int, ...],
) -> None:
    """Score all samples with every method and sanity row, evaluate the test split, and write the results."""
    names = [method.name for method in methods]
    scored: list[Scored] = []
    for method in (METHODS[name] for name in dict.fromkeys((*names, *SANITY))):
        if isinstance(method, Baseline):
            scored += baseline_scores(method, data, inputs, seeds)
        else:
            scored += trained_scores(writer, method, *seen_by(method, data, feed, inputs))
    test = data.rows["test"]
    large = known_labels(inputs, test)
    tested = np.stack([entry.scores[test] for entry in scored])
    evaluation = evaluate(tested, data.labels[test], data.groups[test], large)
    rows, summary = result_rows(scored, evaluation, inputs.store, data), summarise(scored, evaluation, names)
    summary["large"] = large_record(inputs, large)
    writer.write(score_table(scored, inputs.store), sample_table(inputs), rows, summary_record(summary))


def known_labels(inputs: Inputs, rows: np.ndarray) -> np.ndarray | None:
    """Whether the large model is right on these samples; None unless known for all of them."""
    labels = inputs.large_labels[rows]
    unknown = int((labels < 0).sum())
    if 0 < unknown < len(rows):
        say(f"the large model's answer to {unknown} of {len(rows)} test questions is unknown: its columns are empty")
    return None if unknown else labels


def large_record(inputs: Inputs, labels: np.ndarray | None) -> dict[str, Any] | None:
    """The large model in summary.json; None without one."""
    if inputs.large is None or labels is None:
        return None
    return {"model": inputs.large.settings["model"], "accuracy": float(labels.mean())}


def trained_scores(writer: RunFolder, method: TrainedMethod, data: RouterData, feed: Feed) -> list[Scored]:
    """Scores of every seed, computed from the checkpoint, so that restored routers reproduce the report."""
    _, members, fitted = load_ensemble(writer.checkpoint(method.name), data.block)
    parts = replicate(feed.mesh, fitted.parts)
    predicted = scores(parts, feed.of(method), np.arange(len(data.labels)))
    return [
        Scored(method.name, member.seed, predicted[i], **fitted.record(i, member)) for i, member in enumerate(members)
    ]


def baseline_scores(method: Baseline, data: RouterData, inputs: Inputs, seeds: tuple[int, ...]) -> list[Scored]:
    """Scores of a baseline; only once if they do not depend on the seed."""
    used = seeds if method.seeded else seeds[:1]
    return [Scored(method.name, seed, method.scores(data, inputs, seed)) for seed in used]


def score_table(scored: list[Scored], store: ReadableStore) -> pa.Table:
    """scores.parquet: one row per method, seed and sample."""
    n, m = len(store.samples), len(scored)
    return pa.table(
        {
            "sample_id": np.tile(store.column("sample_id"), m),
            "dataset": np.repeat(store.identity.dataset["name"], n * m),
            "split": np.tile(store.column("split"), m),
            "method": np.repeat([entry.method for entry in scored], n),
            "seed": np.repeat([entry.seed for entry in scored], n),
            "score": np.concatenate([entry.scores for entry in scored]),
            "label": np.tile(store.column("label"), m),
        }
    )


def result_rows(
    scored: list[Scored], evaluation: Evaluation, store: ReadableStore, data: RouterData
) -> list[dict[str, Any]]:
    """results.json: one row per method and seed, measured on the test split."""
    test = data.rows["test"]
    common = {"dataset": store.identity.dataset["name"], "model": store.identity.model, "layer": store.layer}
    sizes = {
        "n_train": len(data.rows["train"]),
        "n_test": len(test),
        "base_rate": float(data.labels[test].mean()),
    }
    rows = []
    for i, entry in enumerate(scored):
        metrics = {name: number(value[i]) for name, value in evaluation.values.items()}
        metrics = dict.fromkeys(LARGE_METRICS) | metrics
        rows.append(common | {"method": entry.method, "seed": entry.seed} | sizes | metrics | entry.extra)
    return rows


def summarise(scored: list[Scored], evaluation: Evaluation, methods: Sequence[str]) -> dict[str, Any]:
    """Every method over its seeds, and each `PairedDifference` between two of the run's methods, as in
    `Run.summary`."""
    names = [entry.method for entry in scored]
    table = {}
    for name in dict.fromkeys(names):
        mine = [i for i, other in enumerate(names) if other == name]
        means = {metric: number(np.mean(value[mine])) for metric, value in evaluation.values.items()}
        estimate = mean_auc(evaluation.auc, names, name)
        spread = float(np.ptp(evaluation.values["auc"][mine]))
        table[name] = (
            dict.fromkeys(LARGE_METRICS)
            | means
            | {
                "auc": estimate.value,
                "auc_low": estimate.low,
                "auc_high": estimate.high,
                "auc_error": mean_auc_error(evaluation.auc, names, name),
                "auc_seed_range": spread,
                "n_seeds": len(mine),
            }
        )
    return {
        "methods": table,
        "differences": differences(evaluation, names, pairs_of(methods)),
        "units": evaluation.auc.units._asdict(),
    }


def summary_record(summary: dict[str, Any]) -> dict[str, Any]:
    """The contents of summary.json."""
    return summary | {"differences": [dataclasses.asdict(found) for found in summary["differences"]]}


def pairs_of(methods: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs of the run's methods, then each method with the blind router."""
    pairs = [(a, b) for i, a in enumerate(methods) for b in methods[i + 1 :]]
    return pairs + [(a, BLIND) for a in methods if BLIND not in methods]


def differences(evaluation: Evaluation, names: list[str], pairs: list[tuple[str, str]]) -> list[PairedDifference]:
    """Paired differences of AUC; `p_holm` is adjusted for all of them."""
    return adjusted([auc_difference(evaluation.auc, names, first, second) for first, second in pairs])


def number(value: float) -> float | None:
    """A metric for JSON; None if it is undefined or infinite."""
    return float(value) if math.isfinite(value) else None
