"""The folder of a sweep: its finished ensembles, and the table of their cells.

sweeps/NAME/
  sweep.json         resolved config, grid, stores and versions of the last command
  ensembles/ID/      routers that were trained together; appears atomically when they are finished:
    router.json, arrays   as in a run's checkpoints
    results.json          one row per cell; a cell with a row is finished
    scores.parquet        cell, sample_id, split (validation, test), method, seed, score, label
    metrics.jsonl         one record per member and epoch
  training/ID/       an ensemble in training
  results.csv        one row per cell of the last command's grid
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.report.tables import csv_of, fixed_width
from experiments.runs.rundir import package_versions
from experiments.runs.training_log import drop_unsettled, metrics_log
from experiments.sweeps.cells import Cell, Setting
from experiments.sweeps.grid import SEED, Axis, show
from relope_jax.io.files import json_digest, publish, read_json, write_json, write_text
from relope_jax.io.locks import lock_folder
from relope_jax.io.paths import absolute
from relope_jax.io.run_folder import require_no_links
from relope_jax.io.typed import checked, listing, mapping, maybe, record, text, whole, wrong
from relope_jax.methods import METHODS
from relope_jax.run_schema import count, metric, seed, share, trained
from relope_jax.states.store import Store
from relope_jax.training.fit import Log
from relope_jax.training.snapshots import saved_epoch

RECORD = "sweep.json"
ROWS = "results.json"
SCORES = "scores.parquet"
METRICS = "metrics.jsonl"
TABLE = "results.csv"
FIRST = ("dataset", "model", "layer", "method", "seed")
LAST = (
    "n_train", "n_test", "base_rate", "auc", "auc_low", "auc_high", "accuracy", "ece", "caught_10", "caught_20",
    "caught_30", "validation_auc", "best_epoch", "beta_at_best", "seconds",
)  # fmt: skip

Row = dict[str, Any]


def _field(value: Any) -> Any:
    """A swept field, such as `relope.lora.rank`. It is also a safe file name for its plot."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}(\.[a-z_][a-z0-9_]{0,40}){0,4}", value):
        raise wrong(value, "a field of a config")
    return value


SWEEP = record({"grid": mapping(_field, listing(lambda value: value))})
CELL = record(
    {
        "cell": text,
        "method": trained,
        "seed": seed,
        "auc": metric,
        "validation_auc": metric,
        "dataset": text,
        "model": text,
        "layer": whole(0, 10_000),
        "n_train": count,
        "n_test": count,
        "base_rate": share,
        "best_epoch": whole(),
        "beta_at_best": maybe(metric),
        "seconds": metric,
        **dict.fromkeys(("auc_low", "auc_high", "accuracy", "ece"), maybe(metric)),
        **dict.fromkeys(("caught_10", "caught_20", "caught_30"), maybe(metric)),
    },
)
CELLS = listing(CELL)


def digest(value: Any) -> str:
    """A short hash of a JSON value."""
    return json_digest(value)[:16]


def cell_id(store: Store, cell: Cell) -> str:
    """A hash of a cell's store and settings; equal for the same training in any grid."""
    trained_on = {"store": store.digest, "layer": store.layer, "method": cell.method.name}
    return digest(trained_on | cell.member.record())


class SweepFolder:
    """Exclusive writer of sweeps/NAME.

    Raises:
      ReLopeError: another process has locked the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        require_no_links(path)
        self._lock = lock_folder(path)  # held until close()

    def __enter__(self) -> SweepFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def finished(self) -> dict[str, Row]:
        """`{cell id: row}` for every finished cell of this and earlier commands."""
        files = self.path.glob(f"ensembles/[!.]*/{ROWS}")
        return {row["cell"]: row for file in files for row in checked(read_json(file), CELLS, file)}

    def training(self, name: str) -> Path:
        """Folder for the training state of the ensemble `name`."""
        return self.path / "training" / name

    @contextlib.contextmanager
    def log(self, name: str) -> Iterator[Log]:
        """A log function that appends to the metrics of an ensemble in training.

        Epochs after the last snapshot of an interrupted training are removed first, because they will be repeated.
        """
        folder = self.training(name)
        folder.mkdir(parents=True, exist_ok=True)
        drop_unsettled(folder / METRICS, lambda record: record["epoch"] <= saved_epoch(folder))
        with metrics_log(folder / METRICS) as append:
            yield append

    def publish(self, name: str, save_router: Callable[[Path], None], rows: list[Row], scores: pa.Table) -> None:
        """Publish the finished ensemble atomically, and remove its saved training state."""
        target = self.path / "ensembles" / name
        scratch = target.with_name(f".{name}.tmp")
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed process
        save_router(scratch)
        pq.write_table(scores, scratch / SCORES)
        shutil.copyfile(self.training(name) / METRICS, scratch / METRICS)
        write_json(scratch / ROWS, rows)
        publish(scratch, target)
        shutil.rmtree(self.training(name))

    def forget_trainings(self) -> None:
        """Remove the training states of interrupted ensembles of other grids."""
        shutil.rmtree(self.path / "training", ignore_errors=True)

    def write_record(self, config: dict[str, Any], axes: Sequence[Axis], stores: Iterable[Store]) -> None:
        """Publish sweep.json with the resolved config, and remove the previous command's plots."""
        path = self.path / RECORD
        before = checked(read_json(path), SWEEP, path)["grid"] if path.exists() else {}
        for field in before:
            (self.path / f"{field}.png").unlink(missing_ok=True)
        written = {
            "config": config,
            "grid": {axis.field: axis.values for axis in axes},
            "stores": [{"path": absolute(s.path), "layer": s.layer, "manifest_sha256": s.digest} for s in stores],
            "versions": package_versions(),
        }
        write_json(path, written)

    def write_table(self, axes: Sequence[Axis], rows: Sequence[Row]) -> Path:
        """Publish results.csv."""
        write_text(self.path / TABLE, table_text(axes, rows))
        return self.path / TABLE


def table_rows(cells: dict[str, Cell], finished: dict[str, Row]) -> list[Row]:
    """The finished rows of these cells (by id), in the same order, with the swept fields and the metrics."""
    return [dict(cell.values) | finished[name] for name, cell in cells.items()]


def table_text(axes: Sequence[Axis], rows: Sequence[Row]) -> str:
    """results.csv: one column per swept field, empty if it does not affect the method."""
    swept = [axis.field for axis in axes if axis.field != SEED]
    columns = (*FIRST, *swept, *LAST)
    return csv_of([columns, *([row.get(column) for column in columns] for row in rows)])


def score_table(store: Store, cells: dict[str, Cell], scores: dict[str, np.ndarray]) -> pa.Table:
    """scores.parquet of one ensemble: one row per cell and sample; `scores[split]` is `[cells, samples]`."""
    tables = []
    for split, values in scores.items():
        rows = store.rows(split)
        n, m = len(rows), len(cells)
        tables.append(
            pa.table(
                {
                    "cell": np.repeat(list(cells), n),
                    "sample_id": np.tile(store.column("sample_id")[rows], m),
                    "split": np.repeat(split, n * m),
                    "method": np.repeat([cell.method.name for cell in cells.values()], n),
                    "seed": np.repeat([cell.member.seed for cell in cells.values()], n),
                    "score": values.reshape(-1),
                    "label": np.tile(store.column("label")[rows], m),
                }
            )
        )
    return pa.concat_tables(tables)


def settings(cells: Iterable[Cell]) -> dict[tuple[str, Setting], list[int]]:
    """Indices of the cells that differ only in the seed, by method and setting, in order of first appearance."""
    groups: dict[tuple[str, Setting], list[int]] = {}
    for i, cell in enumerate(cells):
        groups.setdefault((cell.method.name, cell.setting), []).append(i)
    return groups


def summary_text(axes: Sequence[Axis], cells: Sequence[Cell], rows: Sequence[Row]) -> str:
    """The table for the terminal: every method and setting over its seeds; the best by validation AUC is marked."""
    swept = [axis.field for axis in axes if axis.field != SEED]
    header = ["method", *swept, "validation AUC", "test AUC", "seed range", "seeds"]
    body, keys, validation = [], [], []
    for (method, setting), members in settings(cells).items():
        values = dict(setting)
        auc = [rows[i]["auc"] for i in members]
        validation.append(float(np.mean([rows[i]["validation_auc"] for i in members])))
        spread = f"{np.ptp(auc):.3f}" if len(auc) > 1 else ""
        shown = [show(values[field]) if field in values else "" for field in swept]
        row = [METHODS[method].title, *shown, f"{validation[-1]:.3f}", f"{np.mean(auc):.3f}", spread, str(len(auc))]
        body.append(row)
        keys.append(_questions(setting))
    best = {key: max(v for v, other in zip(validation, keys, strict=True) if other == key) for key in keys}
    marks = ["  <- best" if value == best[key] else "" for value, key in zip(validation, keys, strict=True)]
    lines = fixed_width([header, *body])
    return "\n".join(line + mark for line, mark in zip(lines, ["", "", *marks], strict=True))


def _questions(setting: Setting) -> Setting:
    """The part of a setting that determines questions and answers; AUCs are only compared if it is equal."""
    return tuple((field, value) for field, value in setting if field.startswith(("dataset.", "model.")))
