"""Compiles every program of the library that multiplies matrices, with JAX's own settings:

    XLA_FLAGS="--xla_dump_to=FOLDER --xla_dump_hlo_as_text" python -m tests.relope_jax.every_program

Trains both ways, scores, restores a router and its attention, replays the block and evaluates.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import numpy as np

from relope_jax.block.file import save_block
from relope_jax.data import load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import METHODS
from relope_jax.metrics.auc import auc_with_interval
from relope_jax.metrics.bootstrap import bootstrap
from relope_jax.metrics.evaluate import evaluate
from relope_jax.metrics.routing.bootstrap import bootstrap_routing
from relope_jax.models.replay import replay_block
from relope_jax.run import BLOCK, CHECKPOINTS, CONFIG, Run
from relope_jax.training.checkpoints import save_router
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.fit import fit
from relope_jax.training.members import Member
from relope_jax.training.spec import TrainSpec
from tests.relope_jax.training.small import SPECS, write_small_store

TRAIN = TrainSpec(batch_size=16, epochs=1, patience=1)


def main(folder: Path) -> None:
    store = write_small_store(folder / "store")
    for states in ("resident", "streamed"):
        data = load_router_data(store, EngineSpec(states=states))
        for name, spec in SPECS.items():
            members = [Member(spec, TRAIN, 0)]
            fitted = fit(METHODS[name], members, data, open_feed(data), lambda record: None)
            if states == "resident":
                save_router(folder / "run" / CHECKPOINTS / name, METHODS[name], members, fitted)
    (folder / "run" / CONFIG).write_text(json.dumps({"config": {}}))
    save_block(folder / "run" / BLOCK, store.block)
    run, few = Run(folder / "run"), store.states(np.arange(6))
    predicted = np.stack([run.restore(name)(store.states()) for name in SPECS])
    run.restore("attention_probe").attention(few)
    with contextlib.suppress(ReLopeError):  # the states are random, so the replay fails, but it is computed
        replay_block(store.block, few, "float32")
    labels, large = store.column("label").astype(np.int64), np.arange(len(predicted[0])) % 2
    groups = np.arange(len(labels)) // 2
    evaluate(predicted, labels, groups, large)
    evaluate(predicted, labels, None, None)
    auc_with_interval(predicted, labels)
    bootstrap(predicted, labels, groups, n_resamples=50)
    bootstrap_routing(predicted, labels, large, groups, n_resamples=50)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
