"""Train routers over a grid of settings and compare them:

python -m experiments.sweep --config=quickstart.py --grid='relope.beta=0.1,0.5,1.0' --grid='seed=0:8'

Cells that differ only in batched settings or the seed train together in one program. Finished cells are skipped: a
restart, or the same command with a longer grid, trains only what is missing. See docs/guide/sweeps.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's C++ log is not useful to users

import functools
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

from experiments.pipeline import describe
from experiments.runs.plan import run_folder
from experiments.runs.results import Scored, result_rows
from experiments.say import say
from experiments.sweeps.cells import Cell, EnsembleJob, make_jobs, split_text
from experiments.sweeps.figures import write_plots
from experiments.sweeps.grid import EXAMPLE, Axis, show
from experiments.sweeps.plan import SweepPlan, plan_sweep
from experiments.sweeps.progress import ProgressBar
from experiments.sweeps.results import Row, SweepFolder, cell_id, digest, score_table, summary_text, table_rows
from extract.job.open import open_or_extract
from extract.plan import Extraction
from relope_jax.baselines.inputs import Inputs
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.data import RouterData, load_router_data
from relope_jax.errors import ReLopeError, exit_on_error
from relope_jax.io.files import explaining, require_writable
from relope_jax.machine.engine import EngineSpec
from relope_jax.metrics.evaluate import evaluate
from relope_jax.models.replay import replay_block
from relope_jax.states.store import Store
from relope_jax.training.checkpoints import save_router
from relope_jax.training.feeds.feed import Feed, open_feed, seen_by
from relope_jax.training.fit import Fitted, NonFiniteLoss, fit
from relope_jax.training.scoring import scores


def run(plan: SweepPlan, out: str = "sweeps", most: int = 32) -> Path:
    """Train the unfinished cells and write the table and plots of all cells; returns the folder.

    Args:
      out: the sweep is written to `out/<plan.name>`.
      most: maximum number of members per ensemble.
    """
    axes, cells = plan.axes, plan.cells
    if jax.process_count() > 1:
        raise ReLopeError("a sweep runs in one process: start it without a coordinator")
    say(f"sweep {plan.name}: {len(cells)} cells\n{split_text(axes, cells)}")
    path = run_folder(out, plan.name)
    require_writable(path)
    with explaining(path), SweepFolder(path) as folder:
        # All stores first: once JAX has allocated the accelerator's memory, the small model does not fit.
        stores = {needed: open_or_extract(needed) for needed in dict.fromkeys(cell.plan for cell in cells)}
        named = {cell_id(stores[cell.plan], cell): cell for cell in cells}
        folder.write_record(plan.recorded, axes, stores.values())
        finished = folder.finished()
        jobs = make_jobs({name: cell for name, cell in named.items() if name not in finished}, most)
        say(f"{sum(name in finished for name in named)} cells are finished; {to_do(jobs)}")
        train_jobs(folder, jobs, stores, plan.engine)
        folder.forget_trainings()
        rows = table_rows(named, folder.finished())
        report(folder, axes, list(named.values()), rows)
    return folder.path


def to_do(jobs: Sequence[EnsembleJob]) -> str:
    """The number of members left to train, in words."""
    members = sum(len(job.cells) for job in jobs)
    return f"{members} to train in {len(jobs)} ensemble{'' if len(jobs) == 1 else 's'}" if jobs else "none to train"


def train_jobs(
    folder: SweepFolder, jobs: Sequence[EnsembleJob], stores: dict[Extraction, Store], engine: EngineSpec
) -> None:
    """Train the ensembles one after another, store by store."""
    with ProgressBar(jobs) as progress:
        for plan, mine in itertools.groupby(jobs, lambda job: job.plan):
            train_store(folder, list(mine), stores[plan], engine, progress)


def train_store(
    folder: SweepFolder, jobs: Sequence[EnsembleJob], store: Store, engine: EngineSpec, progress: ProgressBar
) -> None:
    """Train the ensembles of one store; its states are freed afterwards."""
    with tqdm.external_write_mode():
        data = load_router_data(store, engine)
        describe(store, data)
        replay_block(store.block, data.states, store.identity.model_dtype)
        feed = open_feed(data, engine)
        say(feed.description)
    for job in jobs:
        train_job(folder, job, store, data, feed, engine, progress)


def train_job(
    folder: SweepFolder,
    job: EnsembleJob,
    store: Store,
    data: RouterData,
    feed: Feed,
    engine: EngineSpec,
    progress: ProgressBar,
) -> None:
    """Train, score and publish one ensemble."""
    name, started = digest(list(job.cells)), time.perf_counter()
    data, feed = seen_by(job.method, data, feed, Inputs(store))
    feed = feed.of(job.method)
    with folder.log(name) as append:
        log = progress.begin(job, append)
        try:
            fitted = fit(job.method, job.members, data, feed, log, folder.training(name), engine.checkpoint_seconds)
        except NonFiniteLoss as error:
            cell = list(job.cells.values())[error.member]
            raise ReLopeError(f"{label(cell)}: {error}, or leave this value out of the grid") from error
    predicted = {split: scores(fitted.parts, feed, data.rows[split]) for split in ("validation", "test")}
    rows = cell_rows(job, store, data, fitted, predicted["test"], time.perf_counter() - started)
    save = functools.partial(save_router, method=job.method, members=job.members, fitted=fitted)
    folder.publish(name, save, rows, score_table(store, job.cells, predicted))
    progress.end(job, fitted, time.perf_counter() - started)


def cell_rows(
    job: EnsembleJob, store: Store, data: RouterData, fitted: Fitted, test_scores: np.ndarray, seconds: float
) -> list[Row]:
    """results.json of an ensemble: for every cell the row of a run, its settings and its share of the time."""
    test = data.rows["test"]
    evaluation = evaluate(test_scores, data.labels[test], data.groups[test])
    scored = [
        Scored(
            job.method.name,
            cell.member.seed,
            test_scores[i],
            **fitted.record(i, cell.member),
            seconds=round(seconds / len(job.cells), 3),
            cell=name,
            member=cell.member.record(),
        )
        for i, (name, cell) in enumerate(job.cells.items())
    ]
    return result_rows(scored, evaluation, store, data)


def report(folder: SweepFolder, axes: Sequence[Axis], cells: Sequence[Cell], rows: Sequence[Row]) -> None:
    """Write the table and the plots, and print the summary."""
    table = folder.write_table(axes, rows)
    plots = write_plots(folder.path, axes, rows)
    say(f"\n{summary_text(axes, cells, rows)}\n\nbest: by mean validation AUC, not by the test split")
    say(f"table: {table}\nplots: {', '.join(map(str, plots))}")


def label(cell: Cell) -> str:
    """A cell in words."""
    return ", ".join([cell.method.title, *(f"{field} {show(value)}" for field, value in cell.values)])


if __name__ == "__main__":
    _CONFIG = define_config_flag()
    _GRID = flags.DEFINE_multi_string("grid", [], f"FIELD=VALUES; may be repeated, for example {EXAMPLE}")
    _OUT = flags.DEFINE_string("out", "sweeps", "the sweep is written to OUT/<config.name>")
    _MEMBERS = flags.DEFINE_integer("members", 32, "maximum number of members per ensemble", lower_bound=1)

    @exit_on_error
    def main(_: list[str]) -> None:
        run(plan_sweep(_CONFIG.value, _GRID.value), _OUT.value, _MEMBERS.value)

    app.run(main, flags_parser=parse_flags)
