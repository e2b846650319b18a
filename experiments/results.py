"""Scores of every method and seed, and everything computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from experiments.rundir import RunFolder
from relope_jax.data import RouterData
from relope_jax.methods import METHODS, SANITY, Baseline, TrainedMethod
from relope_jax.metrics.evaluate import Evaluation, evaluate
from relope_jax.metrics.summary import auc_difference, mean_auc
from relope_jax.states.store import Store
from relope_jax.training.checkpoints import load_ensemble
from relope_jax.training.feed import Feed
from relope_jax.training.mesh import everywhere
from relope_jax.training.scoring import scores


class Scored:
    """Scores of one method and seed on all samples."""

    def __init__(self, method: str, seed: int, scores: np.ndarray, **extra: Any):
        self.method, self.seed, self.scores, self.extra = method, seed, scores, extra


def evaluate_run(
    writer: RunFolder,
    store: Store,
    data: RouterData,
    feed: Feed,
    methods: list[TrainedMethod],
    seeds: tuple[int, ...],
) -> None:
    """Score all samples with every trained method and sanity row, evaluate the test split, write it all."""
    scored = [entry for method in methods for entry in trained_scores(writer, method, data, feed)]
    scored += [entry for name in SANITY for entry in baseline_scores(METHODS[name], data, seeds)]
    test = data.rows["test"]
    evaluation = evaluate(np.stack([entry.scores[test] for entry in scored]), data.labels[test], data.groups[test])
    rows, summary = result_rows(scored, evaluation, store, data), summarise(scored, evaluation, methods)
    writer.write(score_table(scored, store), rows, summary)


def trained_scores(writer: RunFolder, method: TrainedMethod, data: RouterData, feed: Feed) -> list[Scored]:
    """Scores of every seed, from the checkpoint: what is reported is what can be restored."""
    _, members, fitted = load_ensemble(writer.checkpoint(method.name), data.block)
    parts = everywhere(feed.mesh, fitted.parts)
    predicted = scores(parts, feed.of(method), np.arange(len(data.labels)))
    return [
        Scored(
            method.name, member.seed, predicted[i],
            best_epoch=int(fitted.best_epoch[i]), validation_auc=float(fitted.best_auc[i]),
        )
        for i, member in enumerate(members)
    ]  # fmt: skip


def baseline_scores(method: Baseline, data: RouterData, seeds: tuple[int, ...]) -> list[Scored]:
    """Scores of a sanity row, once when it draws nothing at random."""
    return [Scored(method.name, seed, method.scores(data, seed)) for seed in (seeds if method.seeded else seeds[:1])]


def score_table(scored: list[Scored], store: Store) -> pa.Table:
    """scores.parquet: one row a method, seed and sample."""
    n, m = len(store.samples), len(scored)
    return pa.table({
        "sample_id": np.tile(store.column("sample_id"), m),
        "dataset": np.repeat(store.identity.dataset["name"], n * m),
        "split": np.tile(store.column("split"), m),
        "method": np.repeat([entry.method for entry in scored], n),
        "seed": np.repeat([entry.seed for entry in scored], n),
        "score": np.concatenate([entry.scores for entry in scored]),
        "label": np.tile(store.column("label"), m),
    })  # fmt: skip


def result_rows(scored: list[Scored], evaluation: Evaluation, store: Store, data: RouterData) -> list[dict[str, Any]]:
    """results.json: one row a method and seed, measured on the test split."""
    test = data.rows["test"]
    common = {"dataset": store.identity.dataset["name"], "model": store.identity.model, "layer": store.layer}
    sizes = {
        "n_train": len(data.rows["train"]),
        "n_test": len(test),
        "base_rate": float(data.labels[test].mean()),
    }
    rows = []
    for i, entry in enumerate(scored):
        metrics = {name: float(value[i]) for name, value in evaluation.values.items()}
        rows.append(common | {"method": entry.method, "seed": entry.seed} | sizes | metrics | entry.extra)
    return rows


def summarise(scored: list[Scored], evaluation: Evaluation, methods: list[TrainedMethod]) -> dict[str, Any]:
    """summary.json: every method over its seeds, and paired differences between the trained methods."""
    names = [entry.method for entry in scored]
    table = {}
    for name in dict.fromkeys(names):
        mine = [i for i, other in enumerate(names) if other == name]
        means = {metric: float(np.mean(value[mine])) for metric, value in evaluation.values.items()}
        estimate = mean_auc(evaluation.auc, names, name)
        spread = float(np.ptp(evaluation.values["auc"][mine]))
        table[name] = means | {
            "auc": estimate.value, "auc_low": estimate.low, "auc_high": estimate.high,
            "auc_seed_range": spread, "n_seeds": len(mine),
        }  # fmt: skip
    trained = [method.name for method in methods]
    pairs = [(a, b) for i, a in enumerate(trained) for b in trained[i + 1 :]] + [(a, "question_only") for a in trained]
    differences = []
    for first, second in pairs:
        d = auc_difference(evaluation.auc, names, first, second)
        differences.append(
            {"first": first, "second": second, "difference": d.value, "low": d.low, "high": d.high, "p": d.p}
        )
    return {"methods": table, "differences": differences}
