"""Runs from strangers: whatever was changed, reading one costs at most one error line."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.calibration.thresholds import calibrate, splits_of
from experiments.calibration.words import CalibrationRequest
from relope_jax.block.file import save_block
from relope_jax.block.spec import PROJECTIONS
from relope_jax.data import load_router_data
from relope_jax.io.inside import leads_inside
from relope_jax.io.typed import spec_of
from relope_jax.methods import METHODS
from relope_jax.metrics.routing.cost import CostSpec, Reading
from relope_jax.run import BLOCK, CHECKPOINTS, CONFIG, Run
from relope_jax.states.ragged import TokenStates
from relope_jax.states.store import Store
from relope_jax.training.checkpoints import save_router
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.fit import fit
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec
from tests.experiments.runs.made_runs import made_run
from tests.fuzz.mutations import fresh_copy, mutate_file
from tests.fuzz.rounds import ROUNDS, repeated
from tests.fuzz.subjects import refusable
from tests.fuzz.watch import make_canary, watched
from tests.relope_jax.training.small import SPECS, write_small_store

REPORTED = 0.05  # share of the runs with a report, which takes seconds


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run with three trained methods, and its store."""
    folder = tmp_path_factory.mktemp("whole")
    store = write_small_store(folder / "store", parts=2, part_size=24)
    data, run = load_router_data(store), made_run(folder / "run", list(SPECS))
    for name, spec in SPECS.items():
        members = [Member(spec, TrainSpec(batch_size=16, epochs=1, patience=1), seed) for seed in (0, 1)]
        fitted = fit(METHODS[name], members, data, open_feed(data), lambda record: None)
        save_router(run.path / CHECKPOINTS / name, METHODS[name], members, fitted)
    modules = {name: f"model.layers.1.{name}_proj" for name in PROJECTIONS}
    save_block(run.path / BLOCK, dataclasses.replace(store.block, modules=modules))
    record = run.record
    record["config"] |= {"train": {"epochs": 1}, "extract": {"layer": 2}}
    record["store"] |= {"path": str(folder / "store"), "manifest_sha256": store.digest, "digests": [store.digest]}
    (run.path / CONFIG).write_text(json.dumps(record))
    # Also compiles. Only test prompts have (made-up) scores, so no threshold can be chosen.
    assert all("has no train questions" in line for line in use_run(run.path, few(store)))
    return folder


def few(store: Store) -> TokenStates:
    return store.states(np.arange(5))


def use_run(path: Path, states: TokenStates) -> list[str]:
    """Read a run in every possible way, each of which may be refused; returns the refusals."""
    opened = refusable(lambda: Run(path))
    if not opened.done:
        return [opened.line]
    return [line for act in _readings(opened.result, states) if (line := refusable(act).line)]


def _readings(run: Run, states: TokenStates) -> list[Callable[[], object]]:
    request = CalibrationRequest("relope", 0, 0.6, target_accuracy=None, budget=None, deferral=0.9)
    out = run.path.parent / "exported"

    def export() -> None:
        shutil.rmtree(out, ignore_errors=True)
        run.restore("relope").export_peft(out)

    return [
        *(
            lambda name=name: getattr(run, name)
            for name in ("config", "results", "summary", "metrics", "scores", "samples", "store", "block")
        ),
        *(lambda name=name: run.restore(name, 1)(states) for name in SPECS),
        lambda: run.restore("attention_probe").attention(states),
        export,
        lambda: calibrate(run, request, splits_of(run, request, prices_of(run), Reading("query"))),
    ]


def prices_of(run: Run) -> CostSpec:
    return spec_of(CostSpec, run.config["costs"], run.path / CONFIG)


@pytest.mark.parametrize("examples", ROUNDS)
def test_a_changed_run_costs_a_line(whole, tmp_path, examples):
    outside, states = make_canary(tmp_path), few(Store(whole / "store"))

    def attempt(rng: random.Random) -> None:
        path = tmp_path / "inside" / "runs" / "run"
        fresh_copy(whole / "run", path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        for file in rng.sample(files, rng.choice([1, 1, 2])):
            if file.is_file():
                mutate_file(file, rng, outside)
        if not leads_inside(tmp_path / "inside", path):
            return  # the user gives the folder, which may be a link
        with watched(outside):
            use_run(path, states)

    repeated(attempt, examples)
