"""Resident or streamed, on one device or several, in one process or two: the training is the same."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from relope_jax.data import load_router_data
from relope_jax.errors import ReLopeError
from relope_jax.machine import engine as engines
from relope_jax.machine.engine import EngineSpec
from relope_jax.methods import METHODS
from relope_jax.states.ragged import TokenStates
from relope_jax.states.view import StoreStates
from relope_jax.training.feeds import streamed
from relope_jax.training.feeds.feed import open_feed
from relope_jax.training.feeds.resident import ResidentFeed
from relope_jax.training.fit import NonFiniteLoss, fit
from relope_jax.training.members import Member
from relope_jax.training.snapshots import saved_epoch
from relope_jax.training.spec import TrainSpec
from tests import ROOT
from tests.relope_jax.training.small import SPECS, train_small, write_small_store
from tests.selection import first


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_small_store(tmp_path_factory.mktemp("small") / "store")


@pytest.fixture(scope="module")
def expected(store, tmp_path_factory):
    """Scores of a method with resident states on one device."""

    @functools.cache
    def scores(method: str) -> np.ndarray:
        out = tmp_path_factory.mktemp(method)
        train_small(store, method, EngineSpec(states="resident"), out)
        return np.load(out / "scores.npy")

    return scores


@pytest.mark.parametrize("method", first(1, ["attention_probe", "relope", "probe"]))
def test_streamed_states_train_alike(store, expected, method, tmp_path):
    """Same batches, noise and order. Float32 summation order over 54 steps allows 1e-3."""
    train_small(store, method, EngineSpec(states="streamed"), tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected(method), atol=1e-3)


def test_auto_keeps_what_fits_and_says_so(store, monkeypatch):
    small = load_router_data(store, EngineSpec())
    assert isinstance(small.states, TokenStates)
    assert open_feed(small).description.startswith("states: resident on cpu")
    monkeypatch.setattr(engines, "free_memory", lambda: 10_000)
    large = load_router_data(store, EngineSpec())
    assert isinstance(large.states, StoreStates)
    assert open_feed(large).description == f"states: streamed from the store, {large.states.nbytes / 1e6:.0f} MB"
    # The Probe reads no tokens, so it never streams.
    assert isinstance(open_feed(large).of(METHODS["probe"]), ResidentFeed)
    np.testing.assert_allclose(small.statistics.hidden.mean, large.statistics.hidden.mean, rtol=1e-6)


def test_streaming_compiles_each_width_once(store):
    """And none after the first epoch."""
    data = load_router_data(store, EngineSpec(states="streamed"))
    for function in (streamed.train_batch, streamed.score_batch):
        function.clear_cache()
    traces = []

    def log(record):
        traces.append((streamed.train_batch._cache_size(), streamed.score_batch._cache_size()))

    train = TrainSpec(batch_size=16, epochs=4, patience=4)
    fit(METHODS["attention_probe"], [Member(SPECS["attention_probe"], train, 0)], data, open_feed(data), log)
    assert len(set(traces)) == 1
    assert traces[0][0] > 1  # several widths


def test_streamed_training_aborts_at_the_first_bad_step(store):
    data = load_router_data(store, EngineSpec(states="streamed"))
    spec = type(SPECS["attention_probe"])(learning_rate=1e30)
    member = Member(spec, TrainSpec(batch_size=16, epochs=4), 0)
    with pytest.raises(NonFiniteLoss, match=r"step [1-3], member 0 \(seed 0\), on the 16 samples p\d+s\d+"):
        fit(METHODS["attention_probe"], [member], data, open_feed(data), lambda record: None)


def test_too_many_devices_are_refused(store):
    data = load_router_data(store)
    with pytest.raises(ReLopeError, match=r"engine\.devices is 64, but there are 1"):
        open_feed(data, EngineSpec(devices=64))


def run(out: Path, devices: int, *arguments: str) -> subprocess.Popen:
    out.mkdir(exist_ok=True)
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-m", "tests.relope_jax.training.small", f"--out={out}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, counts: str) -> None:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert counts in out


@pytest.mark.parametrize(
    ("devices", "method", "states"),
    [
        pytest.param(2, "relope", "resident", marks=pytest.mark.slow),
        pytest.param(4, "attention_probe", "streamed", marks=pytest.mark.slow),
        (4, "probe", "resident"),
    ],
)
def test_devices_share_a_batch(store, expected, tmp_path, devices, method, states):
    """Gradients are summed in another order, which allows 1e-3 over 54 steps."""
    options = [f"--store={store.path}", f"--method={method}", f"--states={states}"]
    finish(run(tmp_path, devices, *options), f"1 processes, {devices} devices")
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected(method), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "states"), [("relope", "resident"), ("attention_probe", "streamed")])
def test_two_processes_share_a_batch(store, expected, tmp_path, method, states):
    """Two hosts with two devices each, connected by jax.distributed."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    options = [f"--store={store.path}", f"--method={method}", f"--states={states}", f"--coordinator={address}"]
    options += ["--processes=2", "--checkpoint_seconds=0"]
    both = [run(tmp_path, 2, *options, f"--process={i}") for i in range(2)]
    for process in both:
        finish(process, "2 processes, 4 devices")
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected(method), atol=1e-3)
    assert saved_epoch(tmp_path / "training") == 5
