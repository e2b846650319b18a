"""Finished run folders with made-up scores, for tests of reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.configs.base import get_config
from experiments.runs.recorded import recorded_config
from experiments.runs.results import Scored, summarise, summary_record
from relope_jax.methods import SANITY
from relope_jax.metrics.evaluate import evaluate
from relope_jax.run import Run
from relope_jax.run_schema import TOKEN_COUNTS

N = 240
TOKENS = tuple(TOKEN_COUNTS.values())


def made_run(
    folder: Path,
    methods: Sequence[str],
    seeds: Sequence[int] = (0, 1),
    *,
    large: bool = True,
    right: float = 0.6,
    costs: Mapping[str, float] | None = None,
) -> Run:
    """The first methods are the better ones. `large`: the large model was asked; `right`: share of the small model's
    answers; `costs`: prices."""
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
    shuffled = rng.permutation(N)  # the tables are joined by sample, not by place
    known = large_labels if large else None
    pq.write_table(_sample_table(rng, ids, labels, known).take(shuffled), folder / "samples.parquet")
    summary = _summary(names, used, np.stack(scores), labels, known, methods)
    first = result_row("relope", base_rate=float(labels.mean()))
    record = run_record(name="made <script>alert(1)</script>", methods=list(methods), seeds=list(seeds))
    record["config"]["costs"] |= dict(costs or {})
    for name, value in (("summary", summary), ("results", [first]), ("config", record)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _training(methods, seeds)))
    return Run(folder)


def result_row(method: str, base_rate: float = 0.5) -> dict:
    """The start of a row of results.json."""
    sizes = {"n_test": N, "n_train": 9, "base_rate": base_rate}
    return {"dataset": "d", "model": "m", "layer": 3, "method": method, "seed": 0} | sizes


def run_record(**config: object) -> dict:
    """What config.json of a run holds, with these fields of the base config changed; its store is nowhere."""
    store = {"path": "none", "manifest_sha256": "0", "digests": ["0"], "source": "", "dataset": {}}
    return {"config": recorded_config(get_config().to_dict()) | config, "store": store, "versions": {}}


def _noisy(rng: np.random.Generator, labels: np.ndarray, noise: float) -> np.ndarray:
    return 1 / (1 + np.exp(-labels - noise * rng.normal(size=len(labels))))


def _score_table(ids, names, seeds, scores, labels) -> pa.Table:
    m = len(names)
    return pa.table(
        {
            "sample_id": np.tile(ids, m),
            "dataset": ["d"] * (N * m),
            "split": ["test"] * (N * m),
            "method": np.repeat(names, N),
            "seed": np.repeat(seeds, N),
            "score": scores.ravel(),
            "label": pa.array(np.tile(labels, m), pa.int8()),
        }
    )


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
    return summary_record(summarise(scored, evaluate(scores, labels, None, large), methods)) | {"large": record}


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
