"""Finished run folders with made-up scores, for tests of reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.runs.results import Scored, summarise
from experiments.runs.sample_table import COUNTS
from relope_jax.methods import SANITY
from relope_jax.metrics.evaluate import evaluate
from relope_jax.run import Run

N = 240
TOKENS = tuple(COUNTS.values())


def made_run(
    folder: Path,
    methods: Sequence[str],
    seeds: Sequence[int] = (0, 1),
    *,
    large: bool = True,
    older: bool = False,
    right: float = 0.6,
    costs: Mapping[str, float] | None = None,
) -> Run:
    """Earlier methods are better. `large`: the large model was asked; `older`: the format before it could be; `right`:
    share of the small model's right answers; `costs`: prices."""
    rng = np.random.default_rng(0)
    labels = (rng.random(N) < right).astype(np.int64)
    large_labels = np.where(labels == 1, rng.random(N) < 0.9, rng.random(N) < 0.6).astype(np.int64)
    names, scores, used = [], [], []
    for k, name in enumerate((*methods, *SANITY)):
        for seed in seeds if name in methods[:3] else seeds[:1]:
            names.append(name)
            used.append(seed)
            scores.append(labels.astype(float) if name == "oracle" else _noisy(rng, labels, 0.5 + 0.3 * k))
    folder.mkdir(parents=True)
    ids = [f"q{i}" for i in range(N)]
    pq.write_table(_score_table(ids, names, used, np.stack(scores), labels), folder / "scores.parquet")
    if not older:
        shuffled = rng.permutation(N)  # the tables are joined by sample, not by position
        pq.write_table(
            _sample_table(rng, ids, labels, large_labels if large else None).take(shuffled), folder / "samples.parquet"
        )
    summary = _summary(names, used, np.stack(scores), labels, large_labels if large and not older else None, methods)
    if older:
        del summary["units"]
        for row in summary["methods"].values():
            del row["prr"], row["brier"], row["auc_error"]
        for row in summary["differences"]:
            del row["p_holm"]
    first = {"model": "m", "dataset": "d", "layer": 3, "n_test": N, "n_train": 9, "base_rate": float(labels.mean())}
    first |= {"method": "relope", "seed": 0}
    config = {"name": "made <script>alert(1)</script>", "methods": list(methods), "seeds": list(seeds)}
    config |= {"costs": dict(costs)} if costs is not None else {}
    record = {"config": config | {"relope": {"learning_rate": 1e-3}}, "store": {"path": "none"}}
    for name, value in (("summary", summary), ("results", [first]), ("config", record)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _training(methods, seeds)))
    return Run(folder)


def _noisy(rng: np.random.Generator, labels: np.ndarray, noise: float) -> np.ndarray:
    return 1 / (1 + np.exp(-labels - noise * rng.normal(size=len(labels))))


def _score_table(ids, names, seeds, scores, labels) -> pa.Table:
    m = len(names)
    return pa.table({
        "sample_id": np.tile(ids, m), "dataset": ["d"] * (N * m), "split": ["test"] * (N * m),
        "method": np.repeat(names, N), "seed": np.repeat(seeds, N), "score": scores.ravel(),
        "label": pa.array(np.tile(labels, m), pa.int8()),
    })  # fmt: skip


def _sample_table(rng, ids, labels, large_labels) -> pa.Table:
    asked = pa.nulls(N, pa.int8()) if large_labels is None else pa.array(large_labels, pa.int8())
    counts = {name: pa.array(rng.integers(5, 300, N), pa.int32()) for name in TOKENS}
    if large_labels is None:
        counts |= {name: pa.nulls(N, pa.int32()) for name in TOKENS[2:]}
    known = {"sample_id": ids, "group": ids, "split": ["test"] * N, "label": pa.array(labels, pa.int8())}
    return pa.table(known | {"large_label": asked} | counts)


def _summary(names, seeds, scores, labels, large, methods) -> dict:
    scored = [Scored(*entry) for entry in zip(names, seeds, scores, strict=True)]
    record = None if large is None else {"model": "big", "accuracy": float(large.mean())}
    return summarise(scored, evaluate(scores, labels, None, large), methods) | {"large": record}


def _training(methods, seeds) -> list[dict]:
    return [
        {
            "method": name,
            "member": 0,
            "seed": seed,
            "epoch": epoch,
            "loss": 1 / epoch,
            "validation_auc": 1 - 0.4 / epoch,
        }
        for name in methods[:2]
        for seed in seeds
        for epoch in range(1, 5)
    ]
