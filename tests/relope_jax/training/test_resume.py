"""A resumed training gives the same bits, or is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from relope_jax.data import load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.io.files import tree
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import METHODS
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.fit import fit
from relope_jax.training.members import Member
from relope_jax.training.snapshots import saved_epoch
from relope_jax.training.spec import TrainSpec
from tests import ROOT
from tests.relope_jax.training.small import SPECS, write_small_store

TRAIN = TrainSpec(batch_size=32, epochs=6, patience=6)


class Stopped(Exception):
    """Simulates the end of the process."""


def train(data, folder, epochs_until_stop=99, method="relope", members=None):
    """Saves every epoch and stops after `epochs_until_stop` of them."""
    records = []

    def log(record):
        records.append(record)
        if record["epoch"] > epochs_until_stop:
            raise Stopped

    members = members or [Member(SPECS[method], TRAIN, seed) for seed in (0, 1)]
    fitted = fit(METHODS[method], members, data, open_feed(data), log, folder, checkpoint_seconds=0)
    return fitted, records


def bits(fitted):
    leaves = jax.tree.leaves(fitted.parts.params)
    return (
        [np.asarray(x).tobytes() for x in leaves],
        fitted.best_auc.tobytes(),
        fitted.best_beta.tobytes(),
        fitted.best_epoch.tolist(),
    )


def test_resumed_relope_ends_with_the_same_bits(router_data, tmp_path):
    whole, everything = train(router_data, None)
    with pytest.raises(Stopped):
        train(router_data, tmp_path, epochs_until_stop=3)
    assert saved_epoch(tmp_path) == 3
    assert len(list(tmp_path.iterdir())) == 1  # older snapshots are gone
    resumed, records = train(router_data, tmp_path)
    assert [r["epoch"] for r in records] == [4, 4, 5, 5, 6, 6]
    assert bits(resumed) == bits(whole)
    timeless = [{k: v for k, v in r.items() if k not in ("samples_per_second", "input_wait")} for r in records]
    assert timeless == [{k: everything[6 + i][k] for k in r} for i, r in enumerate(timeless)]


def test_snapshot_of_other_settings_or_data_is_refused(router_data, tmp_path):
    """The differing fields are named, wherever they are."""
    data = dataclasses.replace(router_data, identity={"store": "abc", "layer": 2})
    with pytest.raises(Stopped):
        train(data, tmp_path, epochs_until_stop=1, method="probe")
    other = [Member(dataclasses.replace(SPECS["probe"], dropout=0.2), TRAIN, seed) for seed in (0, 1)]
    with pytest.raises(ReLopeError, match=r"members\.0\.spec\.dropout: 0\.1 -> 0\.2; members\.1\.spec\.dropout"):
        train(data, tmp_path, members=other, method="probe")
    more = [Member(SPECS["probe"], TRAIN, seed) for seed in (0, 1, 2)]
    with pytest.raises(ReLopeError, match=r"members\.2\.seed: None -> 2"):
        train(data, tmp_path, members=more, method="probe")
    changed = dataclasses.replace(data, identity={"store": "abd", "layer": 2})
    with pytest.raises(ReLopeError, match=r"store: 'abc' -> 'abd'\)"):
        train(changed, tmp_path, method="probe")
    train(data, tmp_path, method="probe")


def test_damaged_snapshot_is_refused_in_one_line(router_data, tmp_path):
    with pytest.raises(Stopped):
        train(router_data, tmp_path, epochs_until_stop=1, method="probe")
    (arrays,) = tmp_path.glob("epoch-*/arrays")
    for name in tree(arrays):
        (arrays / name).write_bytes(b"")
    with pytest.raises(ReLopeError, match="does not have this router"):
        train(router_data, tmp_path, method="probe")


def test_streamed_training_resumes_to_the_same_bits(tmp_path):
    """Its batches come from two threads, but in order."""
    data = load_router_data(write_small_store(tmp_path / "store"), EngineSpec(states="streamed"))
    whole, _ = train(data, None, method="attention_probe")
    with pytest.raises(Stopped):
        train(data, tmp_path / "training", epochs_until_stop=2, method="attention_probe")
    resumed, _ = train(data, tmp_path / "training", method="attention_probe")
    assert bits(resumed) == bits(whole)


@pytest.mark.parametrize(
    ("kills", "methods"), [(2, ["probe"]), pytest.param(10, ["probe", "attention_probe"], marks=pytest.mark.slow)]
)
def test_killed_again_and_again(tmp_path, kills, methods):
    """SIGKILL at random moments: during epochs, while saving and in between."""
    command = [sys.executable, "-m", "tests.relope_jax.training.kill_training", str(tmp_path), str(kills), *methods]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{kills} kills of {', '.join(methods)}: all"), done.stdout
    state = json.loads(next((tmp_path / "broken-probe").glob("training/epoch-*/state.json")).read_text())
    assert state["epoch"] > 1
