"""Writes a run directory. See docs/design/formats.md for its layout and relope_jax/run.py for the reader."""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from experiments.runs.plan import RunPlan
from experiments.runs.recorded import SCRATCH, without_places, without_prices
from experiments.runs.training_log import drop_unsettled, event_log, metrics_log
from relope_jax.block.file import save_block
from relope_jax.errors import ReLopeError
from relope_jax.io.files import explaining, read_json, write_bytes, write_json
from relope_jax.io.locks import lock_folder
from relope_jax.io.run_folder import require_no_links
from relope_jax.io.tables import table_bytes
from relope_jax.io.typed import checked
from relope_jax.machine.mesh import barrier, is_primary
from relope_jax.methods import TrainedMethod
from relope_jax.run import (
    BLOCK,
    CHECKPOINTS,
    CONFIG,
    METRICS,
    RESULTS,
    SAMPLES,
    SCORES,
    SUMMARY,
    TRAINING,
    store_record,
)
from relope_jax.run_schema import CONFIG as CONFIG_SCHEMA
from relope_jax.states.view import ReadableStore
from relope_jax.training.fit import Log, NonFiniteLoss
from relope_jax.training.snapshots import differences, saved_epoch
from relope_jax.training.spec import TrainSpec

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "tensorstore")
NON_FINITE = "non_finite.json"
EVENTS = "tensorboard"


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute the results of runs and sweeps."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def open_run(plan: RunPlan, store: ReadableStore) -> RunFolder:
    """The run folder of a plan. The primary process writes it; the others read it from the shared disk.

    Raises:
      ReLopeError: the folder has a run with another config or store.
    """
    opened = RunWriter(plan, store) if is_primary() else RunFolder(plan.folder)
    barrier(f"{plan.folder}: opened")
    return opened


class RunFolder:
    """runs/<name>, read-only, for processes that are not primary."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to release."""

    def checkpoint(self, method: str) -> Path:
        return self.path / CHECKPOINTS / method

    def has_method(self, method: str) -> bool:
        """Whether the training of a method is finished."""
        return self.checkpoint(method).exists()

    def training(self, method: str) -> Path:
        """Folder for the training state of an unfinished method."""
        return self.path / TRAINING / method

    @contextlib.contextmanager
    def progress(self, method: TrainedMethod, train: TrainSpec, seeds: tuple[int, ...]) -> Iterator[Log]:
        """The log function of a training."""
        yield lambda record: None

    def finish_method(self, method: str) -> None:
        """Remove the saved training state of a finished method."""

    def write(self, scores: pa.Table, samples: pa.Table, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        """Publish scores.parquet, samples.parquet, summary.json and results.json, the mark of a finished run."""


class RunWriter(RunFolder):
    """Creates or continues runs/<name>."""

    def __init__(self, plan: RunPlan, store: ReadableStore):
        super().__init__(plan.folder)
        record = {
            "config": plan.recorded,
            "store": store_record(self.path, store.path)
            | {
                "manifest_sha256": store.digest,
                "digests": store.digests,
                "source": store.identity.source,
                "dataset": store.identity.dataset,
            },
            "versions": package_versions(),
        }
        self._tensorboard = plan.engine.tensorboard
        with explaining(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            require_no_links(self.path)
            self._lock = lock_folder(self.path)  # held until close()
            try:
                self._open(record, store)
            except BaseException:
                self.close()
                raise

    def _open(self, record: dict[str, Any], store: ReadableStore) -> None:
        existing = self.path / CONFIG
        if existing.exists():
            old = checked(read_json(existing), CONFIG_SCHEMA, existing)
            self._require_same(old, record)
            now = {name: record[name] for name in ("config", "store")}  # prices and the store's path may change
            if old != old | now:
                write_json(existing, old | now)
        else:
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            save_block(self.path / BLOCK, store.block)
            write_json(existing, record)
        self._drop_unfinished_metrics()

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def _require_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        before, now = without_prices(old["config"]), without_prices(new["config"])
        if old["store"]["manifest_sha256"] == new["store"]["manifest_sha256"]:
            different = differences(without_places(before), without_places(now))
        else:
            different = differences(without_places(before, SCRATCH), without_places(now, SCRATCH))
            different.append("the store's contents")
        if different:
            raise ReLopeError(
                f"{self.path} has a run with another config ({'; '.join(different)}): "
                "choose another name with --config.name=..., or delete the folder"
            )

    def _drop_unfinished_metrics(self) -> None:
        """Remove the epochs after the last snapshot of an interrupted method, because they will be repeated."""

        def is_settled(record: dict[str, Any]) -> bool:
            method = record["method"]
            return self.has_method(method) or record["epoch"] <= saved_epoch(self.training(method))

        drop_unsettled(self.path / METRICS, is_settled)

    @contextlib.contextmanager
    def progress(self, method: TrainedMethod, train: TrainSpec, seeds: tuple[int, ...]) -> Iterator[Log]:
        """A log function that appends to metrics.jsonl and advances a progress bar. If the loss is not finite, the
        samples are written to non_finite.json."""
        best: dict[int, float] = {}
        bar = tqdm(
            total=train.epochs,
            initial=saved_epoch(self.training(method.name)),
            desc=f"{method.title} x {len(seeds)} seeds",
            unit="epoch",
        )
        events = event_log(self.path / EVENTS / method.name) if self._tensorboard else contextlib.nullcontext()
        with bar, metrics_log(self.path / METRICS) as append, events as to_events:

            def log(record: dict[str, Any]) -> None:
                append(record)
                if to_events:
                    to_events(record)
                seed = record["seed"]
                best[seed] = max(best.get(seed, 0.0), record["validation_auc"])
                bar.update(record["epoch"] - bar.n)
                bar.set_postfix(loss=f"{record['loss']:.3f}", best_auc=f"{sum(best.values()) / len(best):.3f}")

            try:
                yield log
            except NonFiniteLoss as error:
                found = {"method": method.name, "step": error.step, "seed": seeds[error.member]}
                write_json(self.path / NON_FINITE, found | {"sample_ids": error.sample_ids})
                raise ReLopeError(f"{error} (all samples: {self.path / NON_FINITE})") from error
            bar.total = bar.n  # show early stopping as a finished bar
            bar.refresh()

    def finish_method(self, method: str) -> None:
        """Remove the saved training state of a finished method."""
        shutil.rmtree(self.training(method), ignore_errors=True)
        with contextlib.suppress(OSError):  # it may have another method's training
            self.training(method).parent.rmdir()

    def write(self, scores: pa.Table, samples: pa.Table, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        """Publish scores.parquet, samples.parquet, summary.json and results.json, the mark of a finished run."""
        for name, table in ((SCORES, scores), (SAMPLES, samples)):
            write_bytes(self.path / name, table_bytes(table))
        write_json(self.path / SUMMARY, summary)
        write_json(self.path / RESULTS, rows)
