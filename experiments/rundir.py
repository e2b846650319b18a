"""Writes a run directory; its layout is in WORKSPACE.md, its reader in relope_jax/run.py."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ml_collections import ConfigDict
from tqdm import tqdm

from relope_jax.errors import ReLopeError
from relope_jax.methods import TrainedMethod
from relope_jax.models.params import block_bytes
from relope_jax.run import BLOCK, CHECKPOINTS, CONFIG, METRICS, RESULTS, SCORES, SUMMARY, TRAINING
from relope_jax.states.files import lock_folder, publish, write_bytes, write_json, write_text
from relope_jax.states.store import Store
from relope_jax.training.snapshots import differences, saved_epoch
from relope_jax.training.spec import TrainSpec

NO_PART = ("answers", "engine")  # of the config, in what a run is: they change none of its results
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "tensorstore")


class RunWriter:
    """Creates or continues runs/<name>.

    Raises:
      ReLopeError: the folder holds a run with another config or of another store.
    """

    def __init__(self, config: ConfigDict, store: Store):
        self.path = Path(config.runs) / config.name
        record = {
            "config": {k: v for k, v in json.loads(config.to_json()).items() if k not in NO_PART},
            "store": {"path": store.path, "manifest_sha256": store.digest},
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        }
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.path)  # held until close()
        try:
            self._open(record, store)
        except ReLopeError:
            self.close()
            raise

    def _open(self, record: dict[str, Any], store: Store) -> None:
        existing = self.path / CONFIG
        if existing.exists():
            self._require_same(json.loads(existing.read_text()), record)
        else:
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            write_bytes(self.path / BLOCK, block_bytes(store.block))
            write_json(existing, record)
        self._drop_unfinished_metrics()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def _require_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        different = differences(old["config"], new["config"])
        if old["store"]["manifest_sha256"] != new["store"]["manifest_sha256"]:
            different.append("the store's contents")
        if different:
            raise ReLopeError(
                f"{self.path} holds a run with another config ({'; '.join(different)}): "
                "name this one with --config.name=... or delete the folder"
            )

    def _drop_unfinished_metrics(self) -> None:
        """Forget the epochs after the last snapshot of a method that was interrupted: they come again."""
        path = self.path / METRICS
        lines = path.read_text().split("\n") if path.exists() else []
        kept = [line for line in lines if self._is_settled(line)]
        write_text(path, "".join(line + "\n" for line in kept))

    def _is_settled(self, line: str) -> bool:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # torn
            return False
        method = record["method"]
        return self.has_method(method) or record["epoch"] <= saved_epoch(self.training(method))

    def checkpoint(self, method: str) -> Path:
        return self.path / CHECKPOINTS / method

    def training(self, method: str) -> Path:
        """Where a method's training in progress is saved; gone when it is finished."""
        return self.path / TRAINING / method

    def has_method(self, method: str) -> bool:
        """Whether a method's training is finished."""
        return self.checkpoint(method).exists()

    @contextlib.contextmanager
    def progress(
        self, method: TrainedMethod, train: TrainSpec, seeds: tuple[int, ...]
    ) -> Iterator[Callable[[dict[str, Any]], None]]:
        """A log function that appends to metrics.jsonl and moves a progress bar over the epochs."""
        best: dict[int, float] = {}
        title = f"{method.title} x {len(seeds)} seeds"
        with tqdm(total=train.epochs, desc=title, unit="epoch") as bar, open(self.path / METRICS, "a") as file:

            def log(record: dict[str, Any]) -> None:
                file.write(json.dumps(record) + "\n")
                file.flush()
                seed = record["seed"]
                best[seed] = max(best.get(seed, 0.0), record["validation_auc"])
                bar.update(record["epoch"] - bar.n)
                bar.set_postfix(loss=f"{record['loss']:.3f}", best_auc=f"{sum(best.values()) / len(best):.3f}")

            yield log
            bar.total = bar.n  # early stopping is a finished bar, not an abandoned one
            bar.refresh()

    def write_scores(self, table: pa.Table) -> None:
        """Publish scores.parquet."""
        scratch = self.path / f".{SCORES}"
        pq.write_table(table, scratch)
        publish(scratch, self.path / SCORES)

    def write_results(self, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        """Publish summary.json, then results.json: the mark of a finished run."""
        write_json(self.path / SUMMARY, summary)
        write_json(self.path / RESULTS, rows)
